"""Exact and near duplicates, found in the fingerprints of `prints`; each pass leaves files for the next.

exact     each task takes a range of hashes over all documents; all but the first of equal ones go
match     each task takes some bands, and a range of their numbers: documents that share one may be alike
verify    each task computes the exact Jaccard similarity of the pairs whose first document is its own
join      one task chooses who stays

Who stays: documents are taken in the order of their size, the longest first, the earlier of equals; one
goes if it is alike enough to one that stays. So every document that goes has a better one that stays and
is as much like it as asked for, which the connected components of the pairs do not promise.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import MinHashConfig
from megatron_redone.curation.documents import DroppedFiles
from megatron_redone.curation.executors import Pass
from megatron_redone.curation.prints import Prints, all_prints
from megatron_redone.formats.atomic import atomic_file

# Files are told apart by 16 bits of a document's number.
MOST_TASKS = (1 << 16) - 2

_TASKS_A_PART = 16  # the numbers that one matching task holds: some 8 MB for each of them
_ALL_PAIRS = 32  # in a larger group each document is paired with the first and with its neighbour
_PAIRS_AT_ONCE = 1 << 15
_FILE_BITS = np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)


def exact_passes(prints: Path, work: Path, tasks: int) -> list[Pass]:
    """The pass that finds documents with the same normal form.

    Args:
        prints: A folder that a `PrintWriter` wrote.
        work: Where the result goes.
        tasks: That wrote `prints`.
    """
    parts = _parts(tasks)
    return [Pass("find exact duplicates", [FindExact(prints, work, tasks, parts)], parts)]


def near_passes(
    config: MinHashConfig, prints: Path, exact: Path, work: Path, tasks: int, others: Sequence[float] = ()
) -> list[Pass]:
    """The passes that find documents with nearly the same shingles, listed in `work/found`.

    Args:
        config: Bands, and how similar documents must be.
        prints: A folder that a `PrintWriter` wrote.
        exact: Lists of what goes already.
        work: Where the results go.
        tasks: That wrote `prints`.
        others: Other similarities, what each of which finds is listed in `near_folder`.
    """
    parts = _parts(tasks)
    match = MatchBand(config, prints, exact, work / "pairs", tasks, parts)
    verify: list[PipelineStep] = []
    choose: list[PipelineStep] = []
    for least in dict.fromkeys([config.min_jaccard, *others]):
        folder = near_folder(config, work, least)
        verify.append(VerifyPairs(least, prints, work / "pairs", folder / "verified", tasks))
        choose.append(KeepBest(prints, folder / "verified", folder / "found", tasks))
    return [
        Pass("match bands", [match], match.groups * parts),
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
        numbers, hashes = [], []
        for prints in all_prints(self.prints, self.tasks):
            inside = np.flatnonzero(_part_of(prints.hashes, self.parts) == rank)
            numbers.append(_numbers(prints.task, inside))
            hashes.append(prints.hashes[inside])
        order = np.argsort(everything := np.concatenate(hashes), kind="stable")
        again = order[1:][everything[order[1:]] == everything[order[:-1]]]
        _save(self.found, rank, np.sort(np.concatenate(numbers)[again]))


class MatchBand(PipelineStep):
    """Pairs documents that share the number of a band."""

    type = "🫂 - DEDUP"
    name = "match bands"

    def __init__(self, config: MinHashConfig, prints: Path, exact: Path, pairs: Path, tasks: int, parts: int) -> None:
        super().__init__()
        self.bands = config.buckets
        self.groups = min(config.buckets, tasks)
        self.prints = prints
        self.exact = exact
        self.pairs = pairs
        self.tasks = tasks
        self.parts = parts

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes `uint64[P, 2]`, sorted, for every band of group rank // parts."""
        group, part = divmod(rank, self.parts)
        for band in range(group, self.bands, self.groups):
            _save(self.pairs, band * self.parts + part, self._matched(band, part))

    def _matched(self, band: int, part: int) -> np.ndarray:
        numbers, values = [], []
        for prints in all_prints(self.prints, self.tasks):
            column = prints.band(band, self.bands)
            stays = ~listed(self.exact, prints.task, len(column))
            inside = np.flatnonzero((_part_of(column, self.parts) == part) & stays)
            numbers.append(_numbers(prints.task, inside))
            values.append(column[inside])
        everything = np.concatenate(values)
        order = np.argsort(everything, kind="stable")
        return _pairs(np.concatenate(numbers)[order], everything[order])


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
    return np.unique(np.concatenate(pairs), axis=0)


class VerifyPairs(PipelineStep):
    """Keeps the pairs whose exact Jaccard similarity is high enough."""

    type = "🫂 - DEDUP"
    name = "verify pairs"

    def __init__(self, least: float, prints: Path, pairs: Path, verified: Path, tasks: int) -> None:
        super().__init__()
        self.least = least
        self.prints = prints
        self.pairs = pairs
        self.verified = verified
        self.tasks = tasks

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes `uint64[P, 2]` of the pairs whose first document is in file `rank`."""
        first, last = np.uint64(rank) << _FILE_BITS, np.uint64(rank + 1) << _FILE_BITS
        mine = [np.empty((0, 2), np.uint64)]
        for path in sorted(self.pairs.glob("*.npy")):
            pairs = np.load(path, mmap_mode="r")
            mine.append(pairs[slice(*np.searchsorted(pairs[:, 0], [first, last]))])
        pairs = np.unique(np.concatenate(mine), axis=0)
        alike = [np.empty((0, 2), np.uint64)]
        own = Prints(self.prints, rank)
        for task in np.unique(pairs[:, 1] >> _FILE_BITS).tolist():
            other = Prints(self.prints, int(task))
            to_it = pairs[pairs[:, 1] >> _FILE_BITS == task]
            for start in range(0, len(to_it), _PAIRS_AT_ONCE):
                part = to_it[start : start + _PAIRS_AT_ONCE]
                alike.append(part[jaccard(own, part[:, 0] & _LOW, other, part[:, 1] & _LOW) >= self.least])
        _save(self.verified, rank, np.concatenate(alike))


def jaccard(a: Prints, in_a: np.ndarray, b: Prints, in_b: np.ndarray) -> np.ndarray:
    """`float64[P]`: the Jaccard similarities of documents `in_a[i]` of `a` and `in_b[i]` of `b`."""
    left, right = a.shingles_of(in_a.astype(np.int64)), b.shingles_of(in_b.astype(np.int64))
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
        pairs = [np.load(path) for path in sorted(self.verified.glob("*.npy"))]
        pairs = np.concatenate([np.empty((0, 2), np.uint64), *pairs])
        nodes = np.unique(pairs)
        sizes = np.zeros(len(nodes), np.int64)
        for prints in all_prints(self.prints, self.tasks):
            inside = nodes >> _FILE_BITS == prints.task
            sizes[inside] = prints.sizes[(nodes[inside] & _LOW).astype(np.int64)]
        goes = choose_best(nodes, sizes, pairs)
        _save(self.found, 0, nodes[goes])


def choose_best(nodes: np.ndarray, sizes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Who goes: `bool[N]`.

    Args:
        nodes: `uint64[N]`, sorted numbers of documents.
        sizes: `int64[N]`; the larger one stays.
        pairs: `uint64[P, 2]` of alike documents.
    """
    neighbours: defaultdict[int, list[int]] = defaultdict(list)
    for a, b in np.searchsorted(nodes, pairs).tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    goes = np.zeros(len(nodes), bool)
    for best in np.argsort(-sizes, kind="stable").tolist():
        if not goes[best]:
            goes[neighbours[best]] = True
    return goes


class DropListed(PipelineStep):
    """Drops the documents that `FindExact` or `KeepBest` listed; behind a `DocumentReader`."""

    type = "🫂 - DEDUP"

    def __init__(self, name: str, reason: str, found: Path, dropped: Path) -> None:
        self.name = name
        super().__init__()
        self.reason = reason
        self.found = found
        self.files = DroppedFiles(dropped, name)

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields what is not listed."""
        goes = set(listed_numbers(self.found, rank).tolist())
        with self.files:
            for document in data or ():
                if document.metadata["index"] in goes:
                    self.files.drop(document, rank, self.reason)
                else:
                    yield document


def listed(found: Path, task: int, documents: int) -> np.ndarray:
    """`bool[documents]`: which documents of a task are in the lists of a folder."""
    mask = np.zeros(documents, bool)
    mask[listed_numbers(found, task)] = True
    return mask


def listed_numbers(found: Path, task: int) -> np.ndarray:
    """`int64[N]`: the places of a task's documents that are in the lists of a folder."""
    first, last = np.uint64(task) << _FILE_BITS, np.uint64(task + 1) << _FILE_BITS
    mine = [np.empty(0, np.int64)]
    for path in sorted(found.glob("*.npy")):
        numbers = np.load(path, mmap_mode="r")
        mine.append((numbers[slice(*np.searchsorted(numbers, [first, last]))] & _LOW).astype(np.int64))
    return np.concatenate(mine)


def _parts(tasks: int) -> int:
    return -(-tasks // _TASKS_A_PART)


def _part_of(values: np.ndarray, parts: int) -> np.ndarray:
    return (values >> np.uint64(48)) * np.uint64(parts) >> np.uint64(16)


def _numbers(task: int, indices: np.ndarray) -> np.ndarray:
    return (np.uint64(task) << _FILE_BITS) | indices.astype(np.uint64)


def _save(folder: Path, rank: int, array: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / f"{rank:05d}.npy", "wb") as file:
        np.save(file, array)
