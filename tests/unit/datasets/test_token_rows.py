"""Layouts change who reads a sample, never which are read; isolation is checked document by document."""

import itertools

import numpy as np
import pytest
import torch
from megatron.core.datasets.gpt_dataset import _get_ltor_masks_and_position_ids

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.config.data import BlendSource, DataConfig
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.token_rows import isolated_documents, token_collate, whole_rows
from megatron_redone.datasets.token_stream import open_token_blend

EOD = 0  # as the fixture ends its documents


@pytest.fixture
def blend(write_dataset) -> Blend:
    lengths = np.random.default_rng(4).integers(2, 40, 400).tolist()
    sources = [
        BlendSource(path=write_dataset(lengths, name="a"), weight=2),
        BlendSource(path=write_dataset(lengths[:90], name="b", vocab=3000), weight=1),
    ]
    return open_token_blend(DataConfig(blend=sources, seq_length=32, seed=1))


def reader(blend: Blend, batch_slice: BatchSlice, isolate: bool = False) -> BatchReader:
    config = DataConfig(blend=[BlendSource(path="a")], seq_length=32, isolate_documents=isolate)
    return BatchReader(blend, batch_slice, token_collate(config, ParallelConfig()))


def read_all_ranks(blend: Blend, dp: int, micro: int, consumed: int, isolate: bool = False) -> list[MicroBatch]:
    slices = [
        BatchSlice(global_batch_size=24, micro_batch_size=micro, data_parallel_size=dp, data_parallel_rank=rank)
        for rank in range(dp)
    ]
    parts = [reader(blend, batch_slice, isolate).read(consumed).micro_batches for batch_slice in slices]
    assert all(len(part) == 24 // dp // micro for part in parts)
    return [micro_batch for part in parts for micro_batch in part]


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize(("dp", "micro"), [(1, 24), (2, 3), (4, 1), (3, 8), (24, 1)])
def test_a_global_batch_is_the_same_samples_on_every_layout(blend: Blend, dp: int, micro: int, isolate: bool) -> None:
    def rows(batches: list[MicroBatch]) -> list[list[int]]:
        keys = ("tokens", "labels", "loss_mask", "position_ids")
        columns = [torch.cat([getattr(batch, key).view(-1, 32) for batch in batches]).tolist() for key in keys]
        return sorted([int(x) for part in row for x in part] for row in zip(*columns, strict=True))

    for consumed in (0, 48, 1000):
        assert rows(read_all_ranks(blend, dp, micro, consumed, isolate)) == rows(
            read_all_ranks(blend, 1, 1, consumed, isolate)
        )


def test_a_changed_batch_size_goes_on_where_the_old_one_ended(blend: Blend) -> None:
    small, large = (reader(blend, BatchSlice(global_batch_size=n, micro_batch_size=2)) for n in (4, 8))
    joined = torch.cat([batch.tokens for start in (16, 20) for batch in small.read(start).micro_batches])
    assert torch.equal(joined, torch.cat([batch.tokens for batch in large.read(16).micro_batches]))


def test_whole_rows_equal_megatron_core(blend: Blend) -> None:
    rows = [blend.streams[sample[0]].tokens(sample[1]) for sample in blend.samples(5, 3)]
    batch = whole_rows(rows)
    for i, row in enumerate(rows):
        ids = torch.from_numpy(row.astype(np.int64))
        _, loss_mask, positions = _get_ltor_masks_and_position_ids(ids[:-1], EOD, False, False, False, False)
        expected = {"tokens": ids[:-1], "labels": ids[1:], "loss_mask": loss_mask, "position_ids": positions}
        for key, value in expected.items():
            found = getattr(batch, key)
            assert torch.equal(found[i], value) and found.dtype == value.dtype
    assert batch.cu_seqlens is None and batch.pairs is None


def test_positions_of_isolated_documents_equal_megatron_core(blend: Blend) -> None:
    samples = blend.samples(9, 4)
    rows = [blend.streams[sample[0]].tokens(sample[1]) for sample in samples]
    batch = isolated_documents(rows, [blend.streams[sample[0]].document_starts(sample[1]) for sample in samples])
    for i, row in enumerate(rows):
        ids = torch.from_numpy(row.astype(np.int64))
        _, loss_mask, positions = _get_ltor_masks_and_position_ids(ids[:-1], EOD, True, True, True, False)
        assert torch.equal(batch.position_ids.view(4, -1)[i], positions)
        assert torch.equal(batch.loss_mask.view(4, -1)[i], loss_mask)
        assert torch.equal(batch.labels.view(4, -1)[i], ids[1:])


def test_segments_are_the_documents_one_by_one(blend: Blend) -> None:
    """Cut at cu_seqlens, what is left are pieces of documents with their own next tokens as labels."""
    samples = blend.samples(0, 24)
    rows = [blend.streams[sample[0]].tokens(sample[1]) for sample in samples]
    batch = isolated_documents(rows, [blend.streams[sample[0]].document_starts(sample[1]) for sample in samples])
    bounds = batch.cu_seqlens
    assert batch.tokens.shape == (1, 24 * 32) and bounds.dtype == torch.int32
    assert bounds[0] == 0 and bounds[-1] == 24 * 32 and (bounds.diff() > 0).all()
    found = []
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        tokens, labels, mask, positions = (
            getattr(batch, key)[0, start:stop].tolist() for key in ("tokens", "labels", "loss_mask", "position_ids")
        )
        assert positions == list(range(stop - start))
        assert EOD not in tokens[:-1] and tokens[1:] == labels[:-1]
        kept = [label for label, weight in zip(labels, mask, strict=True) if weight]
        found.append(tokens[:1] + kept)
    expected = []
    for row in rows:
        cuts = [0, *(np.flatnonzero(row[:-1] == EOD) + 1).tolist(), len(row)]
        pieces = [row[a:b].tolist() for a, b in itertools.pairwise(cuts)]
        # One token that begins a document at the very end of a row is a label without an input: no segment.
        expected += pieces[:-1] if len(pieces[-1]) == 1 else pieces
    assert found == expected


def test_a_document_that_begins_with_the_last_label() -> None:
    row = np.array([5, 6, EOD, 7, EOD, 8])
    batch = isolated_documents([row, row], [np.array([3, 5]), np.array([3, 5])])
    assert batch.cu_seqlens.tolist() == [0, 3, 5, 8, 10]
    assert batch.loss_mask[0].tolist() == [1, 1, 0, 1, 0] * 2
    assert batch.position_ids[0].tolist() == [0, 1, 2, 0, 1] * 2
