"""A global batch is described the same on every rank, and each reads its own part."""

import pytest

from megatron_redone.config.data import BlendSource, DataConfig
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.token_rows import token_collate
from megatron_redone.datasets.token_stream import open_token_blend


@pytest.mark.parametrize(("dp", "micro"), [(1, 12), (2, 3), (4, 1)])
def test_samples_and_tokens_are_those_of_all_ranks(write_dataset, dp: int, micro: int) -> None:
    config = DataConfig(blend=[BlendSource(path=write_dataset([30] * 80))], seq_length=16)
    blend, rows = open_token_blend(config), []
    for rank in range(dp):
        batch_slice = BatchSlice(
            global_batch_size=12, micro_batch_size=micro, data_parallel_size=dp, data_parallel_rank=rank
        )
        batch = BatchReader(blend, batch_slice, token_collate(config, ParallelConfig())).read(24)
        assert (batch.consumed_samples, batch.tokens, len(batch.micro_batches)) == (36, 12 * 16, 12 // dp // micro)
        rows += [row for each in batch.micro_batches for row in each.tokens.tolist()]
    expected = [blend.streams[source].tokens(number)[:-1].tolist() for source, number in blend.samples(24, 12)]
    assert sorted(rows) == sorted(expected)
