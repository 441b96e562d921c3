"""Exact and near duplicates over all sources, on datatrove's own steps.

Of documents that are alike the first in the order of the input stays, however the input is cut into
tasks. datatrove keeps the highest priority among exact duplicates, which is here the earliest task, and
whichever its union of pairs ends up with among near ones, which `KeepFirst` replaces.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup.exact_dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
)
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.utils.word_tokenizers import WhitespaceTokenizer

from megatron_redone.config.curate import MinHashConfig
from megatron_redone.curation.documents import read_documents, write_dropped
from megatron_redone.curation.executors import Pass
from megatron_redone.curation.fingerprint import normal_form, shingles

# Tasks are told apart by datatrove's 16-bit priorities, of which 0 is none.
MOST_TASKS = (1 << 16) - 2

_PAIR = struct.Struct("<4I")  # file, document, file, document
_DOCUMENT = struct.Struct("<I")


def exact_passes(documents: Path, work: Path, tasks: int) -> list[Pass]:
    """The passes that find documents with the same normal form.

    Args:
        documents: A folder that a `DocumentWriter` wrote.
        work: Where signatures and results go.
        tasks: Files of `documents`.
    """
    config = ExactDedupConfig(content_getter=_content, document_priority=_priority)
    sign = ExactDedupSignature(str(work / "signatures"), config, finder_workers=tasks)
    find = ExactFindDedups(str(work / "signatures"), str(work / "found"), config)
    return [
        Pass("hash texts", [read_documents(documents), sign], tasks),
        Pass("find exact duplicates", [find], tasks),
    ]


def exact_filter(work: Path, dropped: Path) -> PipelineStep:
    """Drops what `exact_passes` found; to stand behind a reader of the same documents."""
    config = ExactDedupConfig(content_getter=_content, document_priority=_priority)
    return ExactDedupFilter(str(work / "found"), config, write_dropped(dropped, "exact", "same text as an earlier one"))


def minhash_passes(config: MinHashConfig, documents: Path, work: Path, tasks: int) -> list[Pass]:
    """The passes that find documents with nearly the same shingles; arguments as for `exact_passes`."""
    shape = MinhashConfig(config.ngram, config.buckets, config.hashes_per_bucket, config.seed)
    sign = UnitSignature(str(work / "signatures"), shape, WhitespaceTokenizer())  # type: ignore[arg-type]
    match = MinhashDedupBuckets(str(work / "signatures"), str(work / "pairs"), config=shape)
    return [
        Pass("hash shingles", [read_documents(documents), sign], tasks),
        Pass("match buckets", [match], config.buckets),
        Pass("join matches", [KeepFirst(work / "pairs", work / "found")], 1),
    ]


def minhash_filter(work: Path, dropped: Path) -> PipelineStep:
    """Drops what `minhash_passes` found; to stand behind a reader of the same documents."""
    return MinhashDedupFilter(str(work / "found"), write_dropped(dropped, "near", "nearly the same as an earlier one"))


class UnitSignature(MinhashDedupSignature):
    """datatrove's signatures over our shingles, which need no word tokenizer for each language.

    A document of fewer units than a shingle has none and gets no signature: it is like no other here,
    and exact duplicates of it are gone before.
    """

    def get_shingles(self, text: str) -> np.ndarray:
        """Shingles, `uint64[N, 1]`."""
        return shingles(text, self.config.n_grams).reshape(-1, 1)

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> None:
        """Writes sorted signatures by bucket."""
        super().run(data, rank, world_size)


class KeepFirst(PipelineStep):
    """Joins pairs of duplicates and lists, for each file, all documents but the first of every group."""

    type = "🫂 - DEDUP"
    name = "keep the first"

    def __init__(self, pairs: Path, found: Path) -> None:
        super().__init__()
        self.pairs = pairs
        self.found = found

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Reads datatrove's .dups files and writes the .remove files that its filter reads."""
        first: dict[tuple[int, int], tuple[int, int]] = {}
        for path in sorted(self.pairs.glob("*.dups")):
            for file_a, document_a, file_b, document_b in _PAIR.iter_unpack(path.read_bytes()):
                _join(first, (file_a, document_a), (file_b, document_b))
        removed: defaultdict[int, list[int]] = defaultdict(list)
        for file, document in sorted(first):
            if _root(first, (file, document)) != (file, document):
                removed[file].append(document)
        self.found.mkdir(parents=True, exist_ok=True)
        for file, documents in removed.items():
            (self.found / f"{file:06d}.remove").write_bytes(b"".join(map(_DOCUMENT.pack, documents)))


def _join(first: dict[tuple[int, int], tuple[int, int]], a: tuple[int, int], b: tuple[int, int]) -> None:
    a, b = _root(first, a), _root(first, b)
    first[max(a, b)] = min(a, b)


def _root(first: dict[tuple[int, int], tuple[int, int]], member: tuple[int, int]) -> tuple[int, int]:
    root = member
    while (above := first.setdefault(root, root)) != root:
        root = above
    while first[member] != root:  # so that the next walk is short
        first[member], member = root, first[member]
    return root


def _content(document: Document) -> bytes:
    return normal_form(document.text).encode()


def _priority(document: Document) -> int:
    return MOST_TASKS + 1 - document.metadata["shard"]
