"""A shuffle of all documents of a corpus in two passes and bounded memory.

First pass, in each worker: every document draws a bucket at random, and the documents of a run (some
tens of megabytes) are written bucket by bucket. Second pass: a bucket is gathered from all runs and
its documents are permuted in memory. As each document falls into each bucket with the same chance,
the result is a uniform permutation of the corpus; it depends on the seed and the shards alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from megatron_redone.formats.indexed import IndexedDataset, IndexedDatasetWriter

# Input bytes of one bucket, and tokens of one run. A bucket is held twice while it is permuted; at
# one to four bytes of text a token both passes stay around 300 MB.
BUCKET_BYTES = 64 << 20
_RUN_TOKENS = 16 << 20


def bucket_count(input_bytes: int) -> int:
    """How many buckets a corpus needs, its compressed files taken as four times their size by the caller."""
    return max(1, -(-input_bytes // BUCKET_BYTES))


class BucketWriter:
    """First pass: writes the documents of one shard, grouped by bucket within each run."""

    def __init__(self, writer: IndexedDatasetWriter, buckets: int, seed: int, shard: int) -> None:
        self._writer = writer
        self._buckets = buckets
        self._random = np.random.default_rng([seed, 1, shard])
        self._tokens: list[np.ndarray] = []
        self._lengths: list[np.ndarray] = []
        self._runs: list[np.ndarray] = []
        self._held = 0

    def add(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        """Takes documents: ids one after the other `[T]` and how many each has `[N]`."""
        self._tokens.append(tokens)
        self._lengths.append(lengths)
        self._held += len(tokens)
        if self._held >= _RUN_TOKENS:
            self._write_run()

    def finish(self, table: Path) -> None:
        """Writes what is left, and the number of documents of each bucket in each run, `int64[runs, buckets]`."""
        if self._lengths:
            self._write_run()
        runs = np.stack(self._runs) if self._runs else np.zeros((0, self._buckets), np.int64)
        with open(table, "wb") as stream:
            np.save(stream, runs)

    def _write_run(self) -> None:
        tokens, lengths = np.concatenate(self._tokens), np.concatenate(self._lengths)
        drawn = self._random.integers(0, self._buckets, len(lengths))
        order = np.argsort(drawn, kind="stable")
        self._writer.add(reorder(tokens, lengths, order), lengths[order])
        self._runs.append(np.bincount(drawn, minlength=self._buckets))
        self._tokens, self._lengths, self._held = [], [], 0


def shuffled_documents(
    shards: Sequence[IndexedDataset], tables: Sequence[Path], seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Second pass: the documents of the corpus in their final order, a bucket at a time.

    Yields:
        Ids one after the other `[T]`, and how many each document has `[N]`.
    """
    starts = [_bucket_starts(table) for table in tables]
    for bucket in range(starts[0].shape[1] - 1):
        tokens, lengths = _gather(shards, starts, bucket)
        order = np.random.default_rng([seed, 2, bucket]).permutation(len(lengths))
        yield reorder(tokens, lengths, order), lengths[order]


def reorder(tokens: np.ndarray, lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The tokens of documents put into another order."""
    if not len(order):
        return tokens
    ends = np.cumsum(lengths)
    starts = ends - lengths
    return np.concatenate([tokens[starts[i] : ends[i]] for i in order])


def _bucket_starts(table: Path) -> np.ndarray:
    """The document of a shard at which each bucket of each run begins, `int64[runs, buckets + 1]`."""
    counts = np.load(table)
    ends = np.cumsum(counts).reshape(counts.shape)
    first = np.concatenate([[0], ends[:-1, -1]]) if len(ends) else np.zeros(0, np.int64)
    return np.concatenate([first[:, None], ends], axis=1)


def _gather(
    shards: Sequence[IndexedDataset], starts: Sequence[np.ndarray], bucket: int
) -> tuple[np.ndarray, np.ndarray]:
    tokens, lengths = [], []
    for shard, table in zip(shards, starts, strict=True):
        for first, end in table[:, bucket : bucket + 2]:
            if first < end:
                lengths.append(np.array(shard.sequence_lengths[first:end], np.int64))
                start = int(shard.sequence_pointers[first]) // shard.dtype.itemsize
                tokens.append(shard.read_tokens(start, int(lengths[-1].sum())))
    if not lengths:
        return np.zeros(0, shards[0].dtype), np.zeros(0, np.int64)
    return np.concatenate(tokens), np.concatenate(lengths)
