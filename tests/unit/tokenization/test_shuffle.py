"""The two passes together are one uniform permutation."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.formats.indexed import IndexedDataset, IndexedDatasetWriter
from megatron_redone.tokenization import shuffle
from megatron_redone.tokenization.shuffle import BucketWriter, shuffled_documents


def documents(first: int, count: int) -> list[np.ndarray]:
    """Documents whose tokens tell which one they are; some are empty."""
    return [np.full(i % 4, i, np.int32) for i in range(first, first + count)]


def run(folder: Path, shards: int, per_shard: int, buckets: int, seed: int) -> list[int]:
    parts, tables = [], []
    for number in range(shards):
        with IndexedDatasetWriter(folder / f"s{number}", np.int32) as writer:
            sink = BucketWriter(writer, buckets, seed, number)
            for doc in documents(1 + number * per_shard, per_shard):
                sink.add(doc, np.array([len(doc)]))
            sink.finish(folder / f"s{number}.npy")
            writer.finish()
        parts.append(IndexedDataset(folder / f"s{number}"))
        tables.append(folder / f"s{number}.npy")
    order = []
    for tokens, lengths in shuffled_documents(parts, tables, seed):
        for doc in np.split(tokens, np.cumsum(lengths)[:-1]) if len(lengths) else []:
            assert len(set(doc.tolist())) <= 1
            order.append(int(doc[0]) if len(doc) else -1)
    return order


@pytest.mark.parametrize("run_tokens", [1, 40, 1 << 20])
def test_every_document_comes_once(tmp_path: Path, run_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "_RUN_TOKENS", run_tokens)
    order = run(tmp_path, shards=3, per_shard=40, buckets=5, seed=1)
    expected = Counter(i if i % 4 else -1 for i in range(1, 121))
    assert Counter(order) == expected


@pytest.mark.slow
def test_places_are_uniform(tmp_path: Path) -> None:
    """Chi-square over where document 1 lands: 12 places, 600 seeds; 31.3 is the 0.1 % quantile of 11 degrees."""
    places = Counter(run(tmp_path, shards=2, per_shard=6, buckets=3, seed=seed).index(1) for seed in range(600))
    expected = 600 / 12
    assert sum((places[i] - expected) ** 2 / expected for i in range(12)) < 31.3
