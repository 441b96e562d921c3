"""Micro-batches and the global batches they make up.

Shape legend: B rows, S tokens of a row, n segments, P pairs.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ColumnsT = TypeVar("ColumnsT", bound="DataclassInstance")


@dataclass(frozen=True, kw_only=True, eq=False)
class PairColumns:
    """What is known of the P pairs of a packed row.

    Attributes:
        numbers: int64 [P], of each pair in its dataset.
        responses: int64 [1, S], the response that a label belongs to: 2p for the chosen one of pair p, 2p + 1 for the
            rejected one, 0 where no label counts.
        lengths: float32 [2P], tokens of each response.
        prefixes: int32 [n, 2], for each segment where the segment begins and ends that it sees besides itself, 0 and 0
            for none.
        reference: float32 [P, 2], log-probability of chosen and rejected under the reference, in nats; zeros without
            one.
        rewards: float32 [P, 2], how good each is; zeros where the records have none.
    """

    numbers: torch.Tensor
    responses: torch.Tensor
    lengths: torch.Tensor
    prefixes: torch.Tensor
    reference: torch.Tensor
    rewards: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class MicroBatch:
    """Rows that go through the model together, the same on every rank of one copy of the model.

    Tokens and labels may share memory: none of them is to be changed in place.

    Attributes:
        tokens: int64 [B, S].
        labels: int64 [B, S], the token that follows each.
        loss_mask: float32 [B, S], 1 where the label counts, else 0; between them where its loss has a weight.
        position_ids: int64 [B, S].
        cu_seqlens: int32 [n + 1], only with B = 1: the row holds n segments that must not see each other, whose
            positions restart; 0 first, S last. None where rows are read through.
        pairs: What preference optimisation must know besides.
    """

    tokens: torch.Tensor
    labels: torch.Tensor
    loss_mask: torch.Tensor
    position_ids: torch.Tensor
    cu_seqlens: torch.Tensor | None = None
    pairs: PairColumns | None = None

    def pin(self) -> "MicroBatch":
        """The same in page-locked memory, from which copies to a CUDA device run beside the host."""
        return _each_tensor(self, torch.Tensor.pin_memory)

    def to(self, device: torch.device) -> "MicroBatch":
        """The same on a device; the host does not wait."""
        return _each_tensor(self, lambda tensor: to_device(tensor, device))


@dataclass(frozen=True, kw_only=True)
class GlobalBatch:
    """One rank's part of a global batch.

    Attributes:
        micro_batches: In the order in which they are run.
        consumed_samples: The whole state of the data after this batch: samples of all ranks up to here.
        tokens: Of the parts of all ranks together, padding included.
    """

    micro_batches: list[MicroBatch]
    consumed_samples: int
    tokens: int

    def pin(self) -> "GlobalBatch":
        """The same in page-locked memory."""
        return dataclasses.replace(self, micro_batches=[micro_batch.pin() for micro_batch in self.micro_batches])


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A CPU tensor on a device; the host does not wait for the copy."""
    if device.type == "cuda" and not tensor.is_cuda and not tensor.is_pinned():
        tensor = tensor.pin_memory()  # from other memory the driver may wait for all work on the device
    return tensor.to(device, non_blocking=True)


def _each_tensor(columns: ColumnsT, change: Callable[[torch.Tensor], torch.Tensor]) -> ColumnsT:
    """A dataclass of tensors, or of such dataclasses, with every tensor changed."""
    values = ((field.name, getattr(columns, field.name)) for field in dataclasses.fields(columns))
    return dataclasses.replace(columns, **{name: _changed(value, change) for name, value in values})


def _changed(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if value is None:
        return None
    return change(value) if isinstance(value, torch.Tensor) else _each_tensor(value, change)
