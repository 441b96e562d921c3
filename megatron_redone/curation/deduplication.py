"""Exact and near duplicates, found in the fingerprints of `prints`; each pass leaves files for the next.

exact     each task takes a range of hashes over all documents; all but the first of equal ones go
gather    one task puts their lists together, in the order of the documents
match     each task takes a range of the numbers of every band: documents that share one may be alike
verify    each task computes the exact Jaccard similarity of the pairs whose first document is its own
join      one task chooses who stays

Who stays: documents are taken in the order of their size, the longest first, the earlier of equals; one
goes if it is alike enough to one that stays. So every document that goes has a better one that stays and
is as much like it as asked for, which the connected components of the pairs do not promise.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import MinHashConfig
from megatron_redone.curation.duplicate_lists import (
    FILE_BITS,
    PLACE,
    GatherLists,
    document_numbers,
    is_listed,
    read_range,
    save_array,
    saved_arrays,
)
from megatron_redone.curation.executors import Pass
from megatron_redone.curation.prints import Prints, all_prints
from megatron_redone.curation.sorted_runs import read_part

_ALL_PAIRS = 32  # in a larger group each document is paired with the first and with its neighbour
_SHINGLES_AT_ONCE = 1 << 20  # of one side of the pairs that are compared at once


def exact_passes(prints: Path, work: Path, tasks: int, parts: int) -> list[Pass]:
    """The passes that find documents with the same normal form.

    Args:
        prints: A folder that a `PrintWriter` wrote.
        work: Where the result goes.
        tasks: That wrote `prints`.
        parts: Into which they cut the hashes.
    """
    lists = work / "parts"
    return [
        Pass("find exact duplicates", [FindExact(prints, lists, tasks, parts)], parts),
        Pass("gather exact duplicates", [GatherLists(lists, work, tasks, parts)], 1),
    ]


def near_passes(
    config: MinHashConfig,
    prints: Path,
    exact: Path,
    work: Path,
    tasks: int,
    parts: int,
    others: Sequence[float] = (),
) -> list[Pass]:
    """The passes that find documents with nearly the same shingles, listed in `work/found`.

    Args:
        config: Bands, and how similar documents must be.
        prints: A folder that a `PrintWriter` wrote.
        exact: Lists of what goes already.
        work: Where the results go.
        tasks: That wrote `prints`.
        parts: Into which they cut the bands.
        others: Other similarities, what each of which finds is listed in `near_folder`.
    """
    match = MatchBands(config.buckets, prints, exact, work / "pairs", tasks, parts)
    verify: list[PipelineStep] = []
    choose: list[PipelineStep] = []
    for least in dict.fromkeys([config.min_jaccard, *others]):
        folder = near_folder(config, work, least)
        verify.append(VerifyPairs(least, prints, work / "pairs", folder / "verified", tasks, parts))
        choose.append(KeepBest(prints, folder / "verified", folder / "found", tasks))
    return [
        Pass("match bands", [match], parts),
        Pass("verify pairs", verify, tasks),
        Pass("choose who stays", choose, 1),
    ]


def near_folder(config: MinHashConfig, work: Path, least: float) -> Path:
    """Where `near_passes` lists what is at least so similar, in `found`."""
    return work if least == config.min_jaccard else work / f"{least:g}"


class FindExact(PipelineStep):
    """Lists all documents but the first of those that have the same hash."""

    type = "🫂 - DEDUP"
    name = "find exact duplicates"

    def __init__(self, prints: Path, found: Path, tasks: int, parts: int) -> None:
        super().__init__()
        self.prints = prints
        self.found = found
        self.tasks = tasks
        self.parts = parts

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes the documents of its range of hashes that go."""
        numbers, hashes = read_shared(self.prints, self.tasks, 0, rank, self.parts)
        again = np.flatnonzero(hashes[1:] == hashes[:-1]) + 1
        save_array(self.found, rank, np.sort(numbers[again]))


class MatchBands(PipelineStep):
    """Pairs documents that share the number of a band."""

    type = "🫂 - DEDUP"
    name = "match bands"

    def __init__(self, bands: int, prints: Path, exact: Path, pairs: Path, tasks: int, parts: int) -> None:
        super().__init__()
        self.bands = bands
        self.prints = prints
        self.exact = exact
        self.pairs = pairs
        self.tasks = tasks
        self.parts = parts

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes `uint64[2, P]`, sorted by its first row, of its range of every band."""
        pairs = _distinct(np.concatenate([self._matched(band, rank) for band in range(self.bands)]))
        save_array(self.pairs, rank, np.ascontiguousarray(pairs.T))

    def _matched(self, band: int, part: int) -> np.ndarray:
        numbers, values = read_shared(self.prints, self.tasks, 1 + band, part, self.parts)
        stays = ~is_listed(self.exact, numbers)
        return _pairs(numbers[stays], values[stays])


def read_shared(prints: Path, tasks: int, column: int, part: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The documents of all tasks whose hash in a part another has too, and the hashes, ascending: `uint64[N]` both.

    Of equal hashes the earlier document comes first.
    """
    found = [read_part(prints, task, column, part, parts) for task in range(tasks)]
    shared = _repeated(np.concatenate([values for values, _ in found]))
    numbers, values = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for task, (some, documents) in enumerate(found):
        again = np.isin(some, shared, kind="sort")
        numbers.append(document_numbers(task, documents[again]))
        values.append(some[again])
    everything = np.concatenate(values)
    order = np.argsort(everything, kind="stable")
    return np.concatenate(numbers)[order], everything[order]


def _repeated(values: np.ndarray) -> np.ndarray:
    """Those that are there more than once, ascending, each once; sorts `uint64[N]` where they are."""
    values.sort()
    return np.unique(values[1:][values[1:] == values[:-1]])


def _pairs(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """All pairs of a group of equal values; of a large one those with its first and with the one before."""
    if len(values) < 2:
        return np.empty((0, 2), np.uint64)
    borders = np.flatnonzero(np.diff(values, prepend=values[:1] + np.uint64(1), append=values[-1:] + np.uint64(1)))
    sizes = np.diff(borders)
    starts = borders[:-1]
    pairs = [np.empty((0, 2), np.uint64)]
    for size in np.unique(sizes[sizes > 1]).tolist():
        members = numbers[starts[sizes == size][:, None] + np.arange(size)]
        if size <= _ALL_PAIRS:
            left, right = np.triu_indices(size, 1)
        else:
            later = np.arange(1, size)
            left, right = np.concatenate([0 * later, later - 1]), np.concatenate([later, later])
        pairs.append(np.stack([members[:, left].ravel(), members[:, right].ravel()], 1))
    return _distinct(np.concatenate(pairs))


def _distinct(pairs: np.ndarray) -> np.ndarray:
    """`uint64[P, 2]`, sorted, each once."""
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return pairs[np.concatenate([[True], (pairs[1:] != pairs[:-1]).any(axis=1)])[: len(pairs)]]


class VerifyPairs(PipelineStep):
    """Keeps the pairs whose exact Jaccard similarity is high enough."""

    type = "🫂 - DEDUP"
    name = "verify pairs"

    def __init__(self, least: float, prints: Path, pairs: Path, verified: Path, tasks: int, parts: int) -> None:
        super().__init__()
        self.least = least
        self.prints = prints
        self.pairs = pairs
        self.verified = verified
        self.tasks = tasks
        self.parts = parts

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes `uint64[P, 2]` of the pairs whose first document is in file `rank`."""
        first, last = np.uint64(rank) << FILE_BITS, np.uint64(rank + 1) << FILE_BITS
        mine = [read_range(path, first, last) for path in saved_arrays(self.pairs, self.parts)]
        pairs = _distinct(np.concatenate([np.empty((2, 0), np.uint64), *mine], axis=1).T)
        alike = [np.empty((0, 2), np.uint64)]
        own = Prints(self.prints, rank)
        for task in np.unique(pairs[:, 1] >> FILE_BITS).tolist():
            other = Prints(self.prints, int(task))
            to_it = pairs[pairs[:, 1] >> FILE_BITS == task]
            places = (to_it & PLACE).astype(np.int64)
            larger = np.maximum(own.sizes[places[:, 0]], other.sizes[places[:, 1]])
            for part in _at_once(larger):
                alike.append(to_it[part][jaccard(own, places[part, 0], other, places[part, 1]) >= self.least])
        save_array(self.verified, rank, np.concatenate(alike))


def _at_once(sizes: np.ndarray) -> list[slice]:
    """Cuts `int64[P]` sizes in a row into parts of no more than `_SHINGLES_AT_ONCE`, but for the first of a part."""
    upto = np.cumsum(sizes) // _SHINGLES_AT_ONCE
    borders = [0, *(np.flatnonzero(np.diff(upto)) + 1).tolist(), len(sizes)]
    return [slice(*part) for part in pairwise(borders)]


def jaccard(a: Prints, in_a: np.ndarray, b: Prints, in_b: np.ndarray) -> np.ndarray:
    """`float64[P]`: the Jaccard similarities of documents `in_a[i]` of `a` and `in_b[i]` of `b`, `int64[P]` both."""
    left, right = a.shingles_of(in_a), b.shingles_of(in_b)
    keys = [
        (np.repeat(np.arange(len(sets.sizes), dtype=np.uint64), sets.sizes) << np.uint64(32)) | sets.values
        for sets in (left, right)
    ]
    places = np.minimum(np.searchsorted(keys[0], keys[1]), max(0, len(keys[0]) - 1))
    shared = keys[1][keys[0][places] == keys[1]] >> np.uint64(32)
    common = np.bincount(shared.astype(np.int64), minlength=len(left.sizes))
    return common / (left.sizes + right.sizes - common)


class KeepBest(PipelineStep):
    """Lists, for each file, the documents that are alike to a better one that stays."""

    type = "🫂 - DEDUP"
    name = "choose who stays"

    def __init__(self, prints: Path, verified: Path, found: Path, tasks: int) -> None:
        super().__init__()
        self.prints = prints
        self.verified = verified
        self.found = found
        self.tasks = tasks

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Reads what `VerifyPairs` wrote."""
        pairs = [np.load(path) for path in saved_arrays(self.verified, self.tasks)]
        pairs = np.concatenate([np.empty((0, 2), np.uint64), *pairs])
        nodes = np.unique(pairs)
        sizes = np.zeros(len(nodes), np.int64)
        borders = np.searchsorted(nodes, np.arange(self.tasks + 1, dtype=np.uint64) << FILE_BITS)
        for prints in all_prints(self.prints, self.tasks):
            mine = slice(borders[prints.task], borders[prints.task + 1])
            sizes[mine] = prints.sizes[(nodes[mine] & PLACE).astype(np.int64)]
        goes = choose_best(nodes, sizes, pairs)
        save_array(self.found, 0, nodes[goes])


def choose_best(nodes: np.ndarray, sizes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Who goes: `bool[N]`.

    Args:
        nodes: `uint64[N]`, sorted numbers of documents.
        sizes: `int64[N]`; the larger one stays.
        pairs: `uint64[P, 2]` of alike documents.
    """
    ends = np.searchsorted(nodes, pairs).astype(np.int64)
    heads, tails = np.concatenate([ends[:, 0], ends[:, 1]]), np.concatenate([ends[:, 1], ends[:, 0]])
    tails = tails[np.argsort(heads, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(heads, minlength=len(nodes)))])
    goes = np.zeros(len(nodes), bool)
    for best in np.argsort(-sizes, kind="stable").tolist():
        if not goes[best]:
            goes[tails[starts[best] : starts[best + 1]]] = True
    return goes
