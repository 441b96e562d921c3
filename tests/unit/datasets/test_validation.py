"""Every layout validates on the same samples, each once."""

import pytest

from megatron_redone.config.data import BlendSource, DataConfig, DataSource
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.token_rows import token_collate
from megatron_redone.datasets.token_stream import open_token_validation


@pytest.mark.parametrize("isolate", [False, True])
def test_validation_is_the_same_samples_on_every_layout(write_dataset, isolate: bool) -> None:
    config = DataConfig(
        blend=[BlendSource(path="unused")],
        seq_length=16,
        isolate_documents=isolate,
        validation=[DataSource(path=write_dataset([30] * 50, name="v")), DataSource(path=write_dataset([9] * 5, "w"))],
        validation_samples=13,
    )

    def counted_labels(dp: int, micro: int, multiple: int = 1) -> list[int]:
        interleaved = {"pipeline_model_parallel_size": multiple, "virtual_pipeline_model_parallel_size": 2}
        collate = token_collate(config, ParallelConfig(**interleaved if multiple > 1 else {}))
        first, second = open_token_validation(config, collate)
        assert (first.name, first.sample_count) == ("v", 13) and (second.name, second.sample_count) == ("w", 2)
        labels, counts = [], set()
        for rank in range(dp):
            batch_slice = BatchSlice(
                global_batch_size=dp * micro, micro_batch_size=micro, data_parallel_size=dp, data_parallel_rank=rank
            )
            batches = list(first.micro_batches(batch_slice))
            counts.add(len(batches))
            for batch in batches:
                labels += batch.labels[batch.loss_mask > 0].tolist()
        assert len(counts) == 1 and counts.pop() % multiple == 0
        return sorted(labels)

    expected = counted_labels(1, 1)
    assert len(expected) == 13 * 16 - (isolate and (13 * 16) // 30)
    assert counted_labels(2, 3) == counted_labels(4, 1, 4) == counted_labels(1, 16) == expected
