"""The loader reads ahead in a thread: order, resuming, exceptions, and that it stops."""

import threading

import pytest
import torch

from megatron_redone.config.data import BlendSource, DataConfig
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.datasets.batch_loader import Loader
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.token_rows import token_collate
from megatron_redone.datasets.token_stream import open_token_blend
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError


@pytest.fixture
def reader(write_dataset) -> BatchReader:
    config = DataConfig(blend=[BlendSource(path=write_dataset([30] * 50))], seq_length=16)
    blend = open_token_blend(config, Vocabulary(size=1000))
    return BatchReader(
        blend, BatchSlice(global_batch_size=4, micro_batch_size=2), token_collate(config, ParallelConfig())
    )


def test_batches_come_in_order_with_the_state_that_follows(reader: BatchReader) -> None:
    with Loader(reader, prefetch=3) as loader:
        for step in range(20):
            batch = next(loader)
            assert batch.consumed_samples == 4 * (step + 1)
            assert batch.tokens == 4 * 16
            for found, expected in zip(batch.micro_batches, reader.read(4 * step).micro_batches, strict=True):
                assert torch.equal(found.tokens, expected.tokens) and torch.equal(found.labels, expected.labels)


def test_resuming_from_the_state_gives_the_batches_that_would_have_come(reader: BatchReader) -> None:
    with Loader(reader) as loader:
        batches = [next(loader) for _ in range(6)]
    with Loader(reader, consumed_samples=batches[2].consumed_samples) as loader:
        for expected in batches[3:]:
            assert torch.equal(next(loader).micro_batches[1].tokens, expected.micro_batches[1].tokens)


def test_an_exception_reaches_the_caller(reader: BatchReader, write_dataset) -> None:
    path = write_dataset([30] * 50, name="other", vocab=5000)
    config = DataConfig(blend=[BlendSource(path=path)], seq_length=16)
    blend = open_token_blend(config, Vocabulary(size=1000))
    loader = Loader(BatchReader(blend, reader.batch_slice, token_collate(config, ParallelConfig())))
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
