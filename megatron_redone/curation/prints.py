"""Fingerprints of all documents of a pass as arrays on the disk, from which duplicates are found without their texts.

Task N writes, beside its documents, the files N.hashes, N.sources, N.sizes and N.shingles: plain arrays, of which
other tasks read what they need; and hashes and bands once more as `sorted_runs`. Files are read and not mapped
into memory: a mapped page counts as a task's memory as long as nobody else wants it.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.config.curate import MinHashConfig
from megatron_redone.curation.fingerprint import NO_SETS, KnownHashes, ShingleSets, form_hash, normal_form, shingle_sets
from megatron_redone.curation.sorted_runs import write_runs

_AT_ONCE = 512
_BANDS_AT_ONCE = 1 << 17  # numbers
_MULTIPLIER = np.uint64(0x94D049BB133111EB)


class MinHasher:
    """Signatures of many sets at once, folded into one number for each band."""

    def __init__(self, config: MinHashConfig) -> None:
        """Draws the hash functions `a * x + b` modulo 2^64 from the seed."""
        rng = np.random.default_rng(config.seed)
        functions = config.buckets * config.hashes_per_bucket
        self._factors = rng.integers(0, 1 << 64, functions, np.uint64) | np.uint64(1)
        self._summands = rng.integers(0, 1 << 64, functions, np.uint64)
        self._rows = config.hashes_per_bucket
        self._bands = config.buckets

    def bands(self, sets: ShingleSets) -> np.ndarray:
        """`uint64[D, bands]`: two sets share a number where they agree on all hashes of the band."""
        values = sets.values.astype(np.uint64)
        starts = np.cumsum(sets.sizes) - sets.sizes
        folded = np.zeros((len(sets.sizes), self._bands), np.uint64)
        hashed = np.empty_like(values)
        for number, (factor, summand) in enumerate(zip(self._factors, self._summands, strict=True)):
            np.multiply(values, factor, out=hashed)
            np.add(hashed, summand, out=hashed)
            lowest = np.minimum.reduceat(hashed, starts)
            band = folded[:, number // self._rows]
            band *= _MULTIPLIER
            band += lowest ^ (lowest >> np.uint64(29))
        return folded


class PrintWriter(PipelineStep):
    """Hands documents on, and writes what later passes need to know of them."""

    type = "🔍 - PRINTS"
    name = "fingerprints"

    def __init__(
        self,
        config: MinHashConfig,
        with_bands: bool,
        seed: int,
        sources: Sequence[str],
        folder: Path,
        parts: int,
        with_shingles: bool = True,
    ) -> None:
        """Prepares to write.

        Args:
            config: Shingles and bands.
            with_bands: Whether near duplicates will be looked for.
            seed: Of the hash of a whole text.
            sources: Names in the order of their numbers.
            folder: Where the files go.
            parts: Into which sorted hashes and bands are cut.
            with_shingles: Whether documents will be compared at all, by more than the hash of all their text.
        """
        super().__init__()
        self.with_shingles = with_shingles
        self.config = config
        self.with_bands = with_bands
        self.seed = seed
        self.sources = {name: number for number, name in enumerate(sources)}
        self.folder = folder
        self.parts = parts

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Writes the arrays of one task."""
        self.folder.mkdir(parents=True, exist_ok=True)
        known, hasher = KnownHashes(), MinHasher(self.config)
        documents = iter(data or ())
        with contextlib.ExitStack() as stack:
            files = {n: stack.enter_context(open(self.folder / f"{rank:05d}.{n}", "wb", 1 << 20)) for n in _TYPES}
            while batch := list(islice(documents, _AT_ONCE)):
                forms = [document.metadata.pop("form", None) or normal_form(document.text) for document in batch]
                sets = shingle_sets(forms, self.config.ngram, known) if self.with_shingles else NO_SETS
                arrays = {
                    "hashes": [form_hash(form, self.seed) for form in forms],
                    "sources": [self.sources[document.metadata["source"]] for document in batch],
                    "sizes": sets.sizes,
                    "shingles": sets.values,
                    "bands": hasher.bands(sets) if self.with_bands else [],
                }
                for name, array in arrays.items():
                    files[name].write(np.asarray(array, _TYPES[name]).tobytes())
                yield from batch
        self._sort(rank)

    def _sort(self, rank: int) -> None:
        prints = Prints(self.folder, rank)
        buckets = self.config.buckets if self.with_bands else 0
        columns = (prints.band(band, buckets) for band in range(buckets))
        write_runs(self.folder, rank, chain([prints.hashes], columns), self.parts)
        (self.folder / f"{rank:05d}.bands").unlink()


_TYPES = {"hashes": np.uint64, "sources": np.uint16, "sizes": np.uint32, "shingles": np.uint32, "bands": np.uint64}


@dataclass(frozen=True)
class Prints:
    """What a `PrintWriter` wrote in one task.

    Attributes:
        folder: Of all tasks.
        task: Its number.
    """

    folder: Path
    task: int

    def _file(self, name: str) -> Path:
        return self.folder / f"{self.task:05d}.{name}"

    def _whole(self, name: str) -> np.ndarray:
        return np.fromfile(self._file(name), _TYPES[name])

    @cached_property
    def hashes(self) -> np.ndarray:
        """`uint64[D]`, of whole texts."""
        return self._whole("hashes")

    @cached_property
    def sources(self) -> np.ndarray:
        """`uint16[D]`, the number of each document's source."""
        return self._whole("sources")

    @cached_property
    def sizes(self) -> np.ndarray:
        """`int64[D]`, shingles of each document."""
        return self._whole("sizes").astype(np.int64)

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum(self.sizes) - self.sizes

    def band(self, number: int, bands: int) -> np.ndarray:
        """`uint64[D]`, one of `bands` bands of every document, before they are sorted."""
        found, at_once = [np.empty(0, np.uint64)], _BANDS_AT_ONCE // bands * bands
        with open(self._file("bands"), "rb") as file:
            while len(block := np.fromfile(file, np.uint64, at_once)):
                found.append(block[number::bands].copy())  # which does not keep the block
        return np.concatenate(found)

    def shingles(self, index: int) -> np.ndarray:
        """`uint32[N]`, sorted, of one document."""
        return self.shingles_of(np.array([index])).values

    def shingles_of(self, indices: np.ndarray) -> ShingleSets:
        """The sets of several documents, given by `int64[D]`; those that stand in a row are read at once."""
        sizes = self.sizes[indices]
        values = np.empty(int(sizes.sum()), np.uint32)
        firsts = np.flatnonzero(np.diff(indices, prepend=-2) != 1)
        ends = np.cumsum(sizes)
        into = np.append((ends - sizes)[firsts], len(values))
        with open(self._file("shingles"), "rb", buffering=0) as file:
            for start, begin, end in zip(self._starts[indices[firsts]], into, into[1:], strict=False):
                _read_into(values[begin:end], file.fileno(), int(start) * values.itemsize)
        return ShingleSets(values, sizes)


def all_prints(folder: Path, tasks: int) -> Iterator[Prints]:
    """The prints of every task, in order: one at a time, as each keeps what was read of it."""
    return (Prints(folder, task) for task in range(tasks))


def _read_into(array: np.ndarray, file: int, offset: int) -> None:
    """Fills an array from a file that is long enough; the system reads 2 GiB at once at the most, and may read less."""
    rest = array.view(np.uint8).data if array.size else memoryview(b"")
    while rest:
        read = os.preadv(file, [rest], offset)
        if not read:
            raise EOFError(f"{len(rest)} bytes are missing at {offset}")
        rest, offset = rest[read:], offset + read
