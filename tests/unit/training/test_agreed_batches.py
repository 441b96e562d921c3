"""A batch that one rank cannot read ends all ranks with that rank's reason."""

from collections.abc import Iterator

import pytest

from megatron_redone.batches.micro_batch import GlobalBatch
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import start_context
from megatron_redone.distributed.collectives import StoppedOnAllRanks
from megatron_redone.errors import UserError
from megatron_redone.training.agreed_batches import agreed
from tests.helpers.ranks import run_on_ranks


def batches(fail_at: int | None) -> Iterator[GlobalBatch]:
    for number in range(10):
        if number == fail_at:
            raise UserError(f"batch {number} is unreadable")
        yield GlobalBatch(micro_batches=[], consumed_samples=number, tokens=0)


def read(failing_rank: int, count: int) -> tuple[list[int], str]:
    context = start_context(ParallelConfig(), Device.cpu)
    found: list[int] = []
    try:
        for batch in agreed(batches(3 if context.rank == failing_rank else None)):
            found.append(batch.consumed_samples)
            if len(found) == count:
                break
    except StoppedOnAllRanks as stop:
        return found, stop.reason
    return found, ""


def test_all_ranks_stop_at_the_same_batch() -> None:
    assert run_on_ranks(2, read, 1, 10) == [([0, 1, 2], "batch 3 is unreadable (rank 1)")] * 2
    assert run_on_ranks(2, read, 7, 5) == [([0, 1, 2, 3, 4], "")] * 2


def test_alone_the_error_passes_unchanged() -> None:
    with pytest.raises(UserError, match="batch 3 is unreadable"):
        list(agreed(batches(3)))
