"""Documents for validation, chosen by a hash of their text, and the training documents that are too like them.

A document's hash does not depend on the others: what is held out of a source stays held out when the
source grows. Likeness is the exact Jaccard similarity of shingles, not MinHash's estimate: the documents
held out are few, so that all their shingles fit in memory.
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import HeldOutConfig
from megatron_redone.curation.documents import DroppedFiles, RecordFiles, write_final
from megatron_redone.curation.duplicate_lists import listed
from megatron_redone.curation.fingerprint import NO_SETS, ShingleSets
from megatron_redone.curation.prints import Prints, all_prints
from megatron_redone.formats.atomic import write_json

_CHOICE = "chosen.json"
_INDEX = "shingles.npz"
_BLOCK = 1024

_Place = tuple[int, int, int]  # hash, task, index in the task


class ChooseHeldOut(PipelineStep):
    """Chooses, of each source, those with the lowest hashes below the fraction; of equal texts the first."""

    type = "🔍 - HELD OUT"
    name = "choose"

    def __init__(self, config: HeldOutConfig, prints: Path, gone: Sequence[Path], chosen: Path, tasks: int) -> None:
        """Prepares to choose.

        Args:
            config: How many.
            prints: A folder that a `PrintWriter` wrote, with the seed of `config`.
            gone: Lists of the documents that are dropped as duplicates.
            chosen: Where the choice goes.
            tasks: That wrote `prints`.
        """
        super().__init__()
        self.config = config
        self.prints = prints
        self.gone = gone
        self.chosen = chosen
        self.tasks = tasks

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes the chosen documents' places and the index of their shingles."""
        chosen = list(self._choose())
        places: defaultdict[int, list[int]] = defaultdict(list)
        for _, task, index in chosen:
            places[task].append(index)
        self.chosen.mkdir(parents=True, exist_ok=True)
        write_json(self.chosen / _CHOICE, {"places": places, "hashes": [number for number, *_ in chosen]})
        sets = [Prints(self.prints, task).shingles_of(np.array(inside)) for task, inside in places.items()]
        index = HeldOutIndex.build(sets)
        np.savez(self.chosen / _INDEX, shingles=index.shingles, owners=index.owners, sizes=index.sizes)

    def _choose(self) -> Iterator[_Place]:
        taken: set[int] = set()
        for _, candidates in sorted(self._nominate().items()):
            room = self.config.max_documents
            for candidate in sorted(candidates):
                if room and candidate[0] not in taken:
                    taken.add(candidate[0])
                    room -= 1
                    yield candidate

    def _nominate(self) -> dict[int, list[_Place]]:
        """By the number of the source; of each no more than can be chosen, so that memory stays small."""
        limit = np.float64(self.config.fraction * (1 << 64))
        lowest: defaultdict[int, list[_Place]] = defaultdict(list)
        for prints in all_prints(self.prints, self.tasks):
            stays = prints.hashes < limit
            for folder in self.gone:
                stays &= ~listed(folder, prints.task, len(stays))
            for source in np.unique(prints.sources[stays]).tolist():
                indices = np.flatnonzero(stays & (prints.sources == source))
                found = zip(prints.hashes[indices].tolist(), repeat(prints.task), indices.tolist(), strict=False)
                lowest[source] = heapq.nsmallest(self.config.max_documents, _first_of_equal([*lowest[source], *found]))
        return lowest


def _first_of_equal(places: list[_Place]) -> list[_Place]:
    first = {place[0]: place for place in sorted(places, reverse=True)}
    return list(first.values())


class SplitHeldOut(PipelineStep):
    """Writes the chosen documents apart, and drops from training what is like one of them."""

    type = "🔍 - HELD OUT"
    name = "held_out"

    def __init__(self, config: HeldOutConfig, prints: Path, chosen: Path, held_out: Path, dropped: Path) -> None:
        super().__init__()
        self.config = config
        self.prints = prints
        self.chosen = chosen
        self.apart = RecordFiles(held_out)
        self.dropped = DroppedFiles(dropped, self.name)

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields what is left for training."""
        choice = json.loads((self.chosen / _CHOICE).read_text())
        places = set(choice["places"].get(str(rank), ()))
        index, prints = HeldOutIndex.load(self.chosen / _INDEX), Prints(self.prints, rank)
        most_alike, enough = _MostAlike(index, prints), self.config.max_jaccard
        equal = np.isin(prints.hashes, np.array(choice["hashes"], np.uint64)).tolist()
        with self.apart, self.dropped:
            for document in data or ():
                place = document.metadata["index"]
                if place in places:
                    write_final(self.apart, document, rank)
                elif equal[place]:
                    self.dropped.drop(document, rank, "same text as a document held out")
                elif most_alike[place] >= enough and index.nearest(prints.shingles(place)) >= enough:
                    self.dropped.drop(document, rank, "nearly the same as a document held out")
                else:
                    yield document


class _MostAlike:
    """How alike a document can be to one held out, told of many at once; only few can be alike enough.

    It is the fraction of its shingles that any of those held out has: one of them has no more of them in common, and
    a union is no smaller than either set.
    """

    def __init__(self, index: "HeldOutIndex", prints: Prints) -> None:
        self._index = index
        self._prints = prints
        self._block = -1
        self._found: list[float] = []

    def __getitem__(self, place: int) -> float:
        block, inside = divmod(place, _BLOCK)
        if block != self._block:
            last = min((block + 1) * _BLOCK, len(self._prints.sizes))
            sets = self._prints.shingles_of(np.arange(block * _BLOCK, last))
            owners = np.repeat(np.arange(len(sets.sizes)), sets.sizes)
            shared = np.bincount(owners[self._index.has(sets.values)], minlength=len(sets.sizes))
            self._block, self._found = block, (shared / np.maximum(sets.sizes, 1)).tolist()
        return self._found[inside]


class HeldOutIndex:
    """Which documents have a shingle.

    Attributes:
        shingles: `uint32[N]`, sorted; one document after the other where several have it.
        owners: `int64[N]`, the document.
        sizes: `int64[D]`, shingles of each document.
    """

    def __init__(self, shingles: np.ndarray, owners: np.ndarray, sizes: np.ndarray) -> None:
        self.shingles = shingles
        self.owners = owners
        self.sizes = sizes

    @staticmethod
    def build(sets: Sequence[ShingleSets]) -> "HeldOutIndex":
        """An index over the documents of all these sets."""
        sizes = np.concatenate([NO_SETS.sizes, *(some.sizes for some in sets)])
        everything = np.concatenate([NO_SETS.values, *(some.values for some in sets)])
        order = np.argsort(everything, kind="stable")
        return HeldOutIndex(everything[order], np.repeat(np.arange(len(sizes)), sizes)[order], sizes)

    @staticmethod
    def load(path: Path) -> "HeldOutIndex":
        """Reads what `ChooseHeldOut` wrote."""
        with np.load(path) as arrays:
            return HeldOutIndex(arrays["shingles"], arrays["owners"], arrays["sizes"])

    def has(self, shingles: np.ndarray) -> np.ndarray:
        """`bool[N]`: which of `uint32[N]` are in it."""
        if not len(self.shingles):
            return np.zeros(len(shingles), bool)
        places = np.minimum(np.searchsorted(self.shingles, shingles), len(self.shingles) - 1)
        return self.shingles[places] == shingles

    def nearest(self, document: np.ndarray) -> float:
        """The largest Jaccard similarity with any document of the index; 0 without a common shingle."""
        if not self.has(document).any():
            return 0.0
        first = np.searchsorted(self.shingles, document, "left")
        last = np.searchsorted(self.shingles, document, "right")
        found = np.concatenate([self.owners[a:b] for a, b in zip(first, last, strict=True) if b > a])
        owners, common = np.unique(found, return_counts=True)
        return float((common / (self.sizes[owners] + len(document) - common)).max())
