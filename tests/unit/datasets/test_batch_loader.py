"""The loader reads ahead in a thread: order, resuming, exceptions, and that it stops."""

import threading

import pytest
import torch

from megatron_redone.config.data import BlendSource, DataConfig, DataSource
from megatron_redone.datasets.batch_loader import Loader
from megatron_redone.datasets.batches import BatchLayout, BatchReader
from megatron_redone.datasets.token_stream import open_blend
from megatron_redone.datasets.validation import open_validation
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError


@pytest.fixture
def reader(write_dataset) -> BatchReader:
    config = DataConfig(blend=[BlendSource(path=write_dataset([30] * 50))], seq_length=16)
    blend = open_blend(config, Vocabulary(size=1000))
    return BatchReader(blend, BatchLayout(global_batch_size=4, micro_batch_size=2))


def test_batches_come_in_order_with_the_state_that_follows(reader: BatchReader) -> None:
    with Loader(reader, prefetch=3) as loader:
        for step in range(20):
            batch = next(loader)
            assert batch.consumed_samples == 4 * (step + 1)
            for found, expected in zip(batch.micro_batches, reader.read(4 * step), strict=True):
                assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_resuming_from_the_state_gives_the_batches_that_would_have_come(reader: BatchReader) -> None:
    with Loader(reader) as loader:
        batches = [next(loader) for _ in range(6)]
    with Loader(reader, consumed_samples=batches[2].consumed_samples) as loader:
        for expected in batches[3:]:
            assert torch.equal(next(loader).micro_batches[1]["tokens"], expected.micro_batches[1]["tokens"])


def test_an_exception_reaches_the_caller(reader: BatchReader, write_dataset) -> None:
    path = write_dataset([30] * 50, name="other", vocab=5000)
    blend = open_blend(DataConfig(blend=[BlendSource(path=path)], seq_length=16), Vocabulary(size=1000))
    loader = Loader(BatchReader(blend, reader.layout))
    with pytest.raises(UserError, match="vocabulary ends at 999"):
        for _ in range(50):
            next(loader)
    assert not loader._thread.is_alive()


def test_closing_ends_the_thread_at_once(reader: BatchReader) -> None:
    before = threading.active_count()
    loaders = [Loader(reader, prefetch=1) for _ in range(3)]
    next(loaders[0])
    for loader in loaders:
        loader.close()
        loader.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("isolate", [False, True])
def test_validation_is_the_same_samples_on_every_layout(write_dataset, isolate: bool) -> None:
    config = DataConfig(
        blend=[BlendSource(path="unused")],
        seq_length=16,
        isolate_documents=isolate,
        validation=[DataSource(path=write_dataset([30] * 50, name="v")), DataSource(path=write_dataset([9] * 5, "w"))],
        validation_samples=13,
    )
    first, second = open_validation(config)
    assert (first.name, first.sample_count) == ("v", 13) and (second.name, second.sample_count) == ("w", 2)

    def judged(dp: int, micro: int, multiple_of: int = 1) -> list[int]:
        labels, counts = [], set()
        for rank in range(dp):
            layout = BatchLayout(
                global_batch_size=dp * micro, micro_batch_size=micro, data_parallel_size=dp, data_parallel_rank=rank
            )
            batches = list(first.micro_batches(layout, multiple_of))
            counts.add(len(batches))
            assert len(batches) == first.micro_batch_count(layout, multiple_of)
            for batch in batches:
                labels += batch["labels"][batch["loss_mask"] > 0].tolist()
        assert len(counts) == 1 and counts.pop() % multiple_of == 0
        return sorted(labels)

    expected = judged(1, 1)
    assert len(expected) == 13 * 16 - (isolate and (13 * 16) // 30)
    assert judged(2, 3) == judged(4, 1, 4) == judged(1, 16) == expected
