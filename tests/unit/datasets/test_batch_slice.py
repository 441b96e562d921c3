"""Ranks and micro-batches cut a global batch up without a rest."""

import pytest

from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.errors import UserError


@pytest.mark.parametrize(("dp", "micro", "batch"), [(1, 1, 1), (2, 3, 24), (4, 1, 24), (3, 8, 24)])
def test_every_sample_is_read_once_by_one_rank(dp: int, micro: int, batch: int) -> None:
    slices = [
        BatchSlice(global_batch_size=batch, micro_batch_size=micro, data_parallel_size=dp, data_parallel_rank=rank)
        for rank in range(dp)
    ]
    read = [list(each.samples(number)) for each in slices for number in range(each.micro_batch_count)]
    assert sorted(sample for part in read for sample in part) == list(range(batch))
    assert {len(part) for part in read} == {micro}


@pytest.mark.parametrize(("dp", "micro", "batch"), [(3, 1, 8), (2, 3, 8), (1, 16, 8)])
def test_sizes_that_do_not_divide(dp: int, micro: int, batch: int) -> None:
    message = f"global_batch_size: {batch} is not divisible by micro_batch_size {micro} x data-parallel size {dp}"
    with pytest.raises(UserError, match=message):
        BatchSlice(global_batch_size=batch, micro_batch_size=micro, data_parallel_size=dp)


@pytest.mark.parametrize("name", ["global_batch_size", "micro_batch_size"])
def test_sizes_below_one(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: 0 is less than 1"):
        BatchSlice(**{"global_batch_size": 4, "micro_batch_size": 2, name: 0})
