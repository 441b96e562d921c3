"""Documents for validation, chosen by a hash of their text, and the training documents that are too like them.

A document's hash does not depend on the others: what is held out of a source stays held out when the
source grows. Likeness is the exact Jaccard similarity of shingles, not MinHash's estimate: the documents
held out are few, so that all their shingles fit in memory.
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers.jsonl import JsonlWriter

from megatron_redone.config.curate import HeldOutConfig
from megatron_redone.curation.documents import write_dropped
from megatron_redone.curation.fingerprint import shingles, text_hash
from megatron_redone.formats.atomic import write_json

_CHOICE = "chosen.json"
_INDEX = "shingles.npz"


class NominateHeldOut(PipelineStep):
    """Hands documents on, and notes those whose hash falls below the fraction, the lowest of each source."""

    type = "🔍 - HELD OUT"
    name = "nominate"

    def __init__(self, config: HeldOutConfig, folder: Path) -> None:
        super().__init__()
        self.config = config
        self.folder = folder

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Writes NNNNN.json: for each source a list of [hash, task, index in the task, text]."""
        limit = round(self.config.fraction * (1 << 64))
        lowest: defaultdict[str, dict[int, tuple[int, str]]] = defaultdict(dict)
        for index, document in enumerate(data or ()):
            number = text_hash(document.text, self.config.seed)
            found = lowest[document.metadata["source"]]
            if number < limit and number not in found:
                found[number] = (index, document.text)
                if len(found) >= 2 * self.config.max_documents:
                    self._prune(found)
            yield document
        content = {source: [[n, rank, *found[n]] for n in found] for source, found in lowest.items()}
        write_json(_created(self.folder) / f"{rank:05d}.json", content)

    def _prune(self, found: dict[int, tuple[int, str]]) -> None:
        """Leaves as many as can be chosen, so that memory stays small."""
        kept = set(heapq.nsmallest(self.config.max_documents, found))
        for number in [n for n in found if n not in kept]:
            del found[number]


class ChooseHeldOut(PipelineStep):
    """Chooses among the documents that all tasks nominated; of equal texts the first is chosen."""

    type = "🔍 - HELD OUT"
    name = "choose"

    def __init__(self, config: HeldOutConfig, ngram: int, nominated: Path, chosen: Path) -> None:
        super().__init__()
        self.config = config
        self.ngram = ngram
        self.nominated = nominated
        self.chosen = chosen

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes the chosen documents' places and the index of their shingles."""
        by_source: defaultdict[str, list[Any]] = defaultdict(list)
        for path in sorted(self.nominated.glob("*.json")):
            for source, candidates in json.loads(path.read_text(encoding="utf-8")).items():
                by_source[source] += candidates
        chosen = list(self._choose(by_source))
        places: defaultdict[int, list[int]] = defaultdict(list)
        for _, task, index, _ in chosen:
            places[task].append(index)
        folder = _created(self.chosen)
        write_json(folder / _CHOICE, {"places": places, "hashes": [number for number, *_ in chosen]})
        index = HeldOutIndex.build([shingles(text, self.ngram) for *_, text in chosen])
        np.savez(folder / _INDEX, shingles=index.shingles, owners=index.owners, sizes=index.sizes)

    def _choose(self, by_source: dict[str, list[Any]]) -> Iterator[Any]:
        taken: set[int] = set()
        for candidates in by_source.values():
            room = self.config.max_documents
            for candidate in sorted(candidates):
                if room and candidate[0] not in taken:
                    taken.add(candidate[0])
                    room -= 1
                    yield candidate


class SplitHeldOut(BaseFilter):
    """Writes the chosen documents apart, and drops from training what is like one of them."""

    name = "held_out"

    def __init__(self, config: HeldOutConfig, ngram: int, chosen: Path, writer: JsonlWriter, dropped: Path) -> None:
        super().__init__(write_dropped(dropped, self.name))
        self.config = config
        self.ngram = ngram
        self.chosen = chosen
        self.writer = writer

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields what is left for training."""
        choice = json.loads((self.chosen / _CHOICE).read_text())
        places = set(choice["places"].get(str(rank), ()))
        self.hashes = frozenset(choice["hashes"])
        self.index = HeldOutIndex.load(self.chosen / _INDEX)
        with self.writer:
            yield from super().run(self._training(data, places, rank), rank, world_size)

    def _training(self, data: Iterator[Document] | None, places: set[int], rank: int) -> Iterator[Document]:
        for index, document in enumerate(data or ()):
            if index in places:
                self.writer.write(document, rank)
            else:
                yield document

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keeps what differs enough from all documents held out."""
        if text_hash(doc.text, self.config.seed) in self.hashes:
            return False, "same text as a document held out"
        if self.index.nearest(shingles(doc.text, self.ngram)) >= self.config.max_jaccard:
            return False, "nearly the same as a document held out"
        return True


class HeldOutIndex:
    """Which documents have a shingle.

    Attributes:
        shingles: `uint64[N]`, sorted; one document after the other where several have it.
        owners: `int64[N]`, the document.
        sizes: `int64[D]`, shingles of each document.
    """

    def __init__(self, shingles: np.ndarray, owners: np.ndarray, sizes: np.ndarray) -> None:
        self.shingles = shingles
        self.owners = owners
        self.sizes = sizes

    @staticmethod
    def build(documents: list[np.ndarray]) -> "HeldOutIndex":
        """An index over documents' sets of shingles."""
        sizes = np.array([len(document) for document in documents], np.int64)
        everything = np.concatenate([np.empty(0, np.uint64), *documents])
        order = np.argsort(everything, kind="stable")
        return HeldOutIndex(everything[order], np.repeat(np.arange(len(sizes)), sizes)[order], sizes)

    @staticmethod
    def load(path: Path) -> "HeldOutIndex":
        """Reads what `ChooseHeldOut` wrote."""
        with np.load(path) as arrays:
            return HeldOutIndex(arrays["shingles"], arrays["owners"], arrays["sizes"])

    def nearest(self, document: np.ndarray) -> float:
        """The largest Jaccard similarity with any document of the index; 0 without a common shingle."""
        first = np.searchsorted(self.shingles, document, "left")
        last = np.searchsorted(self.shingles, document, "right")
        if not (last > first).any():
            return 0.0
        found = np.concatenate([self.owners[a:b] for a, b in zip(first, last, strict=True) if b > a])
        owners, common = np.unique(found, return_counts=True)
        return float((common / (self.sizes[owners] + len(document) - common)).max())


def _created(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
