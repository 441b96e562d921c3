"""What is left over at the end of a number of samples is read once and counted once."""

from collections.abc import Sequence

import pytest
import torch

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.collating import RowCollate, Sample, micro_batch_multiple


def numbered_rows(samples: Sequence[Sample]) -> MicroBatch:
    """Rows of three tokens, all of them the sample's number."""
    tokens = torch.tensor([[number] * 3 for _, number in samples])
    return MicroBatch(tokens=tokens, labels=tokens, loss_mask=torch.ones(len(samples), 3), position_ids=tokens)


@pytest.mark.parametrize("count", [1, 5, 6, 7, 12])
@pytest.mark.parametrize(("dp", "micro", "multiple"), [(1, 1, 1), (2, 3, 1), (3, 2, 1), (1, 4, 3), (2, 1, 4)])
def test_every_sample_counts_once_and_all_ranks_have_equally_many_micro_batches(
    count: int, dp: int, micro: int, multiple: int
) -> None:
    parts = []
    for rank in range(dp):
        batch_slice = BatchSlice(
            global_batch_size=dp * micro, micro_batch_size=micro, data_parallel_size=dp, data_parallel_rank=rank
        )
        collate = RowCollate(numbered_rows, multiple)
        parts.append(list(collate([(None, number) for number in range(count)], batch_slice)))
    assert len({len(part) for part in parts}) == 1 and len(parts[0]) % multiple == 0
    assert len(parts[0]) < count / (dp * micro) + multiple, "no more than are needed"
    assert {batch.tokens.shape for part in parts for batch in part} == {(micro, 3)}
    counted = [n for part in parts for batch in part for n in batch.tokens[batch.loss_mask > 0].tolist()]
    assert sorted(counted) == sorted(3 * list(range(count)))


def test_only_an_interleaved_pipeline_takes_micro_batches_in_turns() -> None:
    assert micro_batch_multiple(ParallelConfig()) == 1
    assert micro_batch_multiple(ParallelConfig(pipeline_model_parallel_size=4)) == 1
    interleaved = ParallelConfig(pipeline_model_parallel_size=4, virtual_pipeline_model_parallel_size=2)
    assert micro_batch_multiple(interleaved) == 4
