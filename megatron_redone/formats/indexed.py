"""Megatron indexed datasets: PREFIX.bin holds token ids, PREFIX.idx where each sequence lies.

The bytes are those of `megatron.core.datasets.indexed_dataset.IndexedDatasetBuilder`. Layout of the
.idx, little-endian and without padding (source: `_IndexWriter` there):

    9 bytes   b"MMIDIDX\\0\\0"
    uint64    version, 1
    uint8     code of the token type
    uint64    number of sequences S
    uint64    number of document indices D (documents + 1)
    int32[S]  tokens in each sequence
    int64[S]  byte offset of each sequence in the .bin
    int64[D]  first sequence of each document, and S

Neither the writer nor the reader holds anything in memory that grows with the corpus. Both files may have
checksums beside them (see `block_checksums`), by which what is read is checked.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import partial_name, put_in_place
from megatron_redone.formats.block_checksums import SUFFIX, BlockChecksumWriter, checksums_path
from megatron_redone.formats.checked_file import CheckedFile
from megatron_redone.formats.file_record import FileRecord, record_file
from megatron_redone.formats.index_check import index_problems

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
_HEADER = struct.Struct("<9sQBQQ")
_CODES: dict[int, npt.DTypeLike] = {
    1: np.uint8,
    2: np.int8,
    3: np.int16,
    4: np.int32,
    5: np.int64,
    6: np.float64,
    7: np.float32,
    8: np.uint16,
}
_BLOCK = 1 << 20  # entries of a spooled array handled at once, and bytes copied at once


def token_dtype(vocab_size: int) -> np.dtype:
    """The type that megatron-core takes for a vocabulary: uint16 under 65,500 ids, else int32."""
    return np.dtype(np.uint16 if vocab_size < 65500 else np.int32)


@dataclass(frozen=True)
class DatasetPaths:
    """The two files of a dataset."""

    bin: Path
    idx: Path

    @classmethod
    def of(cls, prefix: str | os.PathLike[str]) -> "DatasetPaths":
        """The files of PREFIX; a prefix that ends in .bin or .idx is taken as meant."""
        text = os.fspath(prefix)
        if text.endswith((".bin", ".idx")):
            text = text[:-4]
        return cls(Path(text + ".bin"), Path(text + ".idx"))


@dataclass(frozen=True)
class DatasetSummary:
    """What a writer wrote.

    Attributes:
        files: The records of the two files by their suffixes, `bin` and `idx`; none where they were not asked for.
        checksums: Those of the files with their checksums, likewise.
    """

    documents: int
    sequences: int
    tokens: int
    files: dict[str, FileRecord]
    checksums: dict[str, FileRecord]


class IndexedDatasetWriter:
    """Writes a dataset; it appears under its name only when `finish` has flushed all of it.

    Used as a context manager it removes its partial files when the body raises.
    """

    def __init__(self, prefix: str | os.PathLike[str], dtype: npt.DTypeLike, checksum: bool = False) -> None:
        """Opens the partial files.

        Args:
            prefix: The dataset's path without suffix; its folder is made.
            dtype: The token type, one of those that the format knows.
            checksum: Whether the checksums of both files are written beside them, and `finish` answers their records.
        """
        self.paths = DatasetPaths.of(prefix)
        self.dtype = np.dtype(dtype)
        self.code = next(code for code, known in _CODES.items() if np.dtype(known) == self.dtype)
        self.paths.bin.parent.mkdir(parents=True, exist_ok=True)
        self._partial = [partial_name(path) for path in (self.paths.bin, self.paths.idx)]
        self._spools = [Path(f"{self.paths.idx}.{kind}.partial") for kind in ("lengths", "documents")]
        self._bin: BinaryIO = open(self._partial[0], "wb")
        self._lengths: BinaryIO = open(self._spools[0], "wb")
        self._documents: BinaryIO = open(self._spools[1], "wb")
        files = (self.paths.bin, self.paths.idx) if checksum else ()
        self._checksums = [BlockChecksumWriter(path) for path in files]
        self.tokens = self.sequences = self.documents = 0

    def add(self, tokens: np.ndarray, lengths: np.ndarray, sequences_per_document: np.ndarray | None = None) -> None:
        """Appends documents.

        Args:
            tokens: Integer ids of all sequences, one after the other, `[sum(lengths)]`.
            lengths: Tokens of each sequence, `[S]`.
            sequences_per_document: Sequences of each document, `[D]`; None where each sequence is one.
        """
        assert len(tokens) == int(lengths.sum()), "lengths do not add up to the tokens"
        if tokens.dtype != self.dtype:
            limits = np.iinfo(self.dtype.name)
            assert not len(tokens) or limits.max >= tokens.max() >= tokens.min() >= limits.min, "id beyond the type"
            tokens = tokens.astype(self.dtype)
        self._write_tokens(np.ascontiguousarray(tokens).data.cast("B"))
        self._lengths.write(lengths.astype(np.int32).tobytes())
        counts = np.ones(len(lengths), np.int64) if sequences_per_document is None else sequences_per_document
        ends = self.sequences + np.cumsum(counts, dtype=np.int64)
        self._documents.write(ends.tobytes())
        self.tokens += len(tokens)
        self.sequences += len(lengths)
        self.documents += len(counts)

    def add_dataset(self, other: "IndexedDataset") -> None:
        """Appends a whole dataset of the same token type, copied in blocks."""
        assert other.dtype == self.dtype, "datasets of different token types"
        with open(other.paths.bin, "rb") as source:
            while block := source.read(16 * _BLOCK):
                self._write_tokens(block)
        for start, stop in _blocks(other.sequence_count):
            self._lengths.write(other.sequence_lengths[start:stop].tobytes())
        for start, stop in _blocks(other.document_count):
            self._documents.write((other.document_indices[start + 1 : stop + 1] + self.sequences).tobytes())
        self.tokens += other.token_count
        self.sequences += other.sequence_count
        self.documents += other.document_count

    def finish(self) -> DatasetSummary:
        """Writes the index, flushes all files to the disk and gives them their names."""
        for stream in (self._lengths, self._documents):
            stream.close()
        _flush_and_close(self._bin)
        with open(self._partial[1], "wb") as stream:
            for block in self._index_blocks():
                stream.write(block)
                if self._checksums:
                    self._checksums[1].update(block)
            _flush_and_close(stream)
        digests = [checksums.finish() for checksums in self._checksums]
        self._put_in_place()
        self._remove(self._spools)
        written = list(zip((self.paths.bin, self.paths.idx), digests, strict=False))
        files = {path.suffix[1:]: record_file(path, digest) for path, digest in written}
        checksums = {f"{path.suffix[1:]}{SUFFIX}": record_file(checksums_path(path)) for path, _ in written}
        return DatasetSummary(self.documents, self.sequences, self.tokens, files, checksums)

    def _put_in_place(self) -> None:
        for path in (self.paths.bin, self.paths.idx):
            checksums_path(path).unlink(missing_ok=True)  # of the dataset that is replaced
        for checksums in self._checksums:
            checksums.put_in_place()
        # The .idx comes last: where it stands, all beside it is complete.
        put_in_place(self._partial[0], self.paths.bin)
        put_in_place(self._partial[1], self.paths.idx)

    def abandon(self) -> None:
        """Closes and removes everything that was written."""
        for stream in (self._bin, self._lengths, self._documents):
            with suppress(OSError):  # on a full disk closing fails once more
                stream.close()
        for checksums in self._checksums:
            with suppress(OSError):
                checksums.abandon()
        self._remove([*self._partial, *self._spools])

    def __enter__(self) -> "IndexedDatasetWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None:
            self.abandon()

    def _write_tokens(self, block: memoryview | bytes) -> None:
        self._bin.write(block)
        if self._checksums:
            self._checksums[0].update(block)

    def _index_blocks(self) -> Iterator[bytes]:
        """The .idx, piece by piece, from the spooled lengths and document ends."""
        yield _HEADER.pack(MAGIC, VERSION, self.code, self.sequences, self.documents + 1)
        yield from _file_blocks(self._spools[0])
        pointer = 0
        for block in _file_blocks(self._spools[0]):
            lengths = np.frombuffer(block, np.int32).astype(np.int64) * self.dtype.itemsize
            ends = pointer + np.cumsum(lengths)
            yield (ends - lengths).tobytes()
            pointer = int(ends[-1])
        yield np.int64(0).tobytes()
        yield from _file_blocks(self._spools[1])

    @staticmethod
    def _remove(paths: list[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)


class IndexedDataset:
    """Reads a dataset. Opening costs the same for a thousand documents and for a billion.

    Attributes:
        has_checksums: Whether the .idx has checksums.
        sequence_lengths: `int32[S]`, mapped from the file.
        sequence_pointers: `int64[S]` byte offsets, mapped; the prefix sum of the lengths.
        document_indices: `int64[D + 1]`, mapped.
    """

    def __init__(self, prefix: str | os.PathLike[str], random_access: bool = False) -> None:
        """Opens both files and checks that their sizes fit the header.

        Args:
            prefix: The dataset's path without suffix.
            random_access: Reads will jump about: the system fetches what is asked for and reads nothing ahead.

        Raises:
            UserError: a file is missing, is not of this format, is truncated or damaged.
        """
        self.paths = DatasetPaths.of(prefix)
        for path in (self.paths.idx, self.paths.bin):
            if not path.is_file():
                raise UserError(f"{path}: no such file; a dataset is named by its path without .bin or .idx")
        with CheckedFile(self.paths.idx) as index:
            self.has_checksums = index.checksums is not None
            code, self.sequence_count, indices = _read_header(index)
            self.dtype = np.dtype(_CODES[code])
            self.document_count = indices - 1
            self._check_index_size(indices)
            for end in (_HEADER.size + 4 * self.sequence_count, _HEADER.size + 12 * self.sequence_count, index.size):
                index.read(end - 1, 1)  # the ends of all arrays: that of the .bin follows from them
        offset = _HEADER.size
        self.sequence_lengths = self._map(np.int32, offset, self.sequence_count)
        self.sequence_pointers = self._map(np.int64, offset + 4 * self.sequence_count, self.sequence_count)
        self.document_indices = self._map(np.int64, offset + 12 * self.sequence_count, indices)
        self.token_count = self._check_bin_size()
        for problem in () if self.has_checksums else index_problems(self, sampled=True):
            raise UserError(f"{problem}; copy or write the dataset again")
        self._random_access = random_access
        self._bin = CheckedFile(self.paths.bin, random_access)

    def __len__(self) -> int:
        """The number of sequences."""
        return self.sequence_count

    def __getitem__(self, sequence: int) -> np.ndarray:
        """The token ids of one sequence."""
        start = int(self.sequence_pointers[sequence]) // self.dtype.itemsize
        return self.read_tokens(start, int(self.sequence_lengths[sequence]))

    def document(self, number: int) -> np.ndarray:
        """The token ids of one document, its sequences one after the other."""
        first, end = (int(i) for i in self.document_indices[number : number + 2])
        if first == end:
            return np.empty(0, self.dtype)
        start = int(self.sequence_pointers[first]) // self.dtype.itemsize
        last = int(self.sequence_pointers[end - 1]) // self.dtype.itemsize + int(self.sequence_lengths[end - 1])
        return self.read_tokens(start, last - start)

    def read_tokens(self, start: int, count: int) -> np.ndarray:
        """`count` token ids from position `start` of the .bin, across sequence borders.

        A positioned read rather than a mapping: one request to the disk, nothing left in the process.

        Raises:
            UserError: they are not those that were written, or the file has become shorter since it was opened.
        """
        size = self.dtype.itemsize
        return np.frombuffer(self._bin.read(start * size, count * size), self.dtype)

    def check_all(self) -> None:
        """Compares every byte of both files with their checksums, where they have some.

        Raises:
            UserError: naming the file that is damaged.
        """
        self.check_index()
        self._bin.check_all()

    def check_index(self) -> None:
        """Compares every byte of the .idx, for those who read all of it.

        Raises:
            UserError: it is damaged.
        """
        with CheckedFile(self.paths.idx) as index:
            index.check_all()

    def close(self) -> None:
        """Closes the .bin."""
        self._bin.close()

    def __getstate__(self) -> dict[str, object]:
        return {"prefix": str(self.paths.bin), "random_access": self._random_access}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def _map(self, dtype: npt.DTypeLike, offset: int, count: int) -> np.ndarray:
        if count == 0:
            return np.empty(0, dtype)
        return np.memmap(self.paths.idx, dtype, "r", offset, (count,))

    def _check_index_size(self, indices: int) -> None:
        needed = _HEADER.size + 12 * self.sequence_count + 8 * indices
        found = self.paths.idx.stat().st_size
        # Multimodal datasets carry one more byte a sequence, which we have no use for.
        if indices < 1 or found not in (needed, needed + self.sequence_count):
            raise UserError(
                f"{self.paths.idx}: {found:,} bytes, but its header speaks of {needed:,}; "
                "the file is truncated or damaged, write the dataset again"
            )

    def _check_bin_size(self) -> int:
        needed = 0
        if self.sequence_count:
            needed = int(self.sequence_pointers[-1]) + int(self.sequence_lengths[-1]) * self.dtype.itemsize
        found = self.paths.bin.stat().st_size
        if found != needed:
            state = "truncated" if found < needed else "longer than its index says"
            raise UserError(
                f"{self.paths.bin}: {found:,} bytes, but its index needs {needed:,}; "
                f"the file is {state}, copy or write the dataset again"
            )
        return needed // self.dtype.itemsize


def _read_header(index: CheckedFile) -> tuple[int, int, int]:
    path, raw = index.path, bytes(index.read(0, min(_HEADER.size, index.size)))
    if len(raw) < _HEADER.size or raw[:9] != MAGIC:
        raise UserError(f"{path}: not a Megatron index (its first bytes are {raw[:9]!r}); write the dataset again")
    _, version, code, sequences, indices = _HEADER.unpack(raw)
    if version != VERSION or code not in _CODES:
        raise UserError(f"{path}: index version {version} with token type {code} is not known; only version 1 is")
    return code, sequences, indices


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, _BLOCK):
        yield start, min(start + _BLOCK, count)


def _file_blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as stream:
        while block := stream.read(8 * _BLOCK):
            yield block


def _flush_and_close(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())
    stream.close()
