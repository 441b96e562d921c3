"""Small collectives with a name, and the one that ends a run on all ranks."""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from megatron_redone.errors import EXIT_FAILURE, EXIT_USER_ERROR, UserError

T = TypeVar("T")


class StoppedOnAllRanks(SystemExit):
    """Ends this process with the same exit code as all others; rank 0 has said why.

    Attributes:
        reason: What rank 0 has printed.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code)
        self.reason = reason


@contextlib.contextmanager
def errors_stop_all_ranks() -> Iterator[None]:
    """Ends all ranks, with one line on rank 0, when the block fails on any of them.

    To be entered by all ranks, around work that may fail on some of them (reading files, checking what
    was read) and that waits for no other rank itself: a rank that fails would leave the others waiting.
    In a run of one process the error passes unchanged.
    """
    try:
        yield
    except Exception as error:
        if not _others_exist():
            raise
        if not isinstance(error, UserError):
            traceback.print_exc()
        _stop_if_any_failed(error)
        raise AssertionError("unreachable: this rank has failed") from error
    if _others_exist():
        _stop_if_any_failed(None)


@contextlib.contextmanager
def shared_failure(kind: type[UserError]) -> Iterator[None]:
    """Raises one kind of mistake on all ranks where it happens on some; any other error ends them.

    To be entered by all ranks, as `errors_stop_all_ranks`, by a caller who knows what to do instead.
    """
    failure: UserError | None = None
    with errors_stop_all_ranks():
        try:
            yield
        except kind as error:
            failure = error
    found = [str(failure)] if failure is not None else []
    if _others_exist():
        everyones: list[list[str]] = [[]] * dist.get_world_size()
        dist.all_gather_object(everyones, found)
        found = [text for texts in everyones for text in texts]
    if found:
        raise kind(found[0])


def _others_exist() -> bool:
    return dist.is_initialized() and dist.get_world_size() > 1


def _stop_if_any_failed(error: Exception | None) -> None:
    text = None if error is None else (isinstance(error, UserError), _one_line(error))
    found: list[tuple[bool, str] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, text)
    failures = [(rank, *entry) for rank, entry in enumerate(found) if entry is not None]
    if not failures:
        return
    rank, is_mistake, reason = failures[0]
    if len(failures) < len(found):
        reason = f"{reason} (rank {rank})"
    if dist.get_rank() == 0:
        print(f"redone: {reason}", file=sys.stderr, flush=True)
    # A launcher kills the others as soon as one has exited: rank 0 must have spoken before that.
    dist.barrier()
    raise StoppedOnAllRanks(EXIT_USER_ERROR if is_mistake else EXIT_FAILURE, reason)


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def sum_over(tensor: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """The sum of a tensor over a group, in place."""
    if group.size() > 1:
        dist.all_reduce(tensor, group=group)
    return tensor


def all_reduce_with_grad(tensor: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """The sum of a tensor over a group, for a loss that every rank of the group computes in full.

    A rank's gradient is that of its own term: gradients of weights are summed over the group later.
    """
    return _AllReduceWithGrad.apply(tensor, group) if group.size() > 1 else tensor  # type: ignore[return-value]


class _AllReduceWithGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        return sum_over(tensor.clone(), group)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0], None


def largest(value: int) -> int:
    """The largest of the values that the ranks pass, on every rank."""
    if not _others_exist():
        return value
    box = torch.tensor(value)
    dist.all_reduce(box, dist.ReduceOp.MAX)  # on the CPU, over gloo: no device has to wait
    return int(box)


def broadcast_from_main(value: T) -> T:
    """What rank 0 passed, on every rank. Any object that pickles."""
    return _broadcast(value, 0, dist.group.WORLD) if _others_exist() else value


def gather_to_main(value: T) -> list[T] | None:
    """What each rank passed, on rank 0; None on the others. Any object that pickles."""
    if not _others_exist():
        return [value]
    found: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, found)
    return found


def broadcast_from_last(value: T, group: dist.ProcessGroup) -> T:
    """What the last rank of a group passed, on all of its ranks. Any object that pickles."""
    return _broadcast(value, dist.get_process_group_ranks(group)[-1], group)


def _broadcast(value: T, source: int, group: dist.ProcessGroup | None) -> T:
    if dist.get_world_size(group) == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=source, group=group)
    return box[0]
