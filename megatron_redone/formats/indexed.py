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

Neither the writer nor the reader holds anything in memory that grows with the corpus.
"""

import hashlib
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
    """What a writer wrote. The checksums are None where they were not asked for."""

    documents: int
    sequences: int
    tokens: int
    bin_sha256: str | None
    idx_sha256: str | None


class IndexedDatasetWriter:
    """Writes a dataset; it appears under its name only when `finish` has flushed all of it.

    Used as a context manager it removes its partial files when the body raises.
    """

    def __init__(self, prefix: str | os.PathLike[str], dtype: npt.DTypeLike, checksum: bool = False) -> None:
        """Opens the partial files.

        Args:
            prefix: The dataset's path without suffix; its folder is made.
            dtype: The token type, one of those that the format knows.
            checksum: Whether `finish` answers the SHA-256 of both files.
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
        self._checksum = checksum
        self._bin_hash = hashlib.sha256()
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
        """Writes the index, flushes both files to the disk and gives them their names."""
        for stream in (self._lengths, self._documents):
            stream.close()
        _flush_and_close(self._bin)
        idx_hash = hashlib.sha256()
        with open(self._partial[1], "wb") as stream:
            for block in self._index_blocks():
                stream.write(block)
                if self._checksum:
                    idx_hash.update(block)
            _flush_and_close(stream)
        # The .idx comes last: where it stands, the .bin beside it is complete.
        put_in_place(self._partial[0], self.paths.bin)
        put_in_place(self._partial[1], self.paths.idx)
        self._remove(self._spools)
        digests = (self._bin_hash.hexdigest(), idx_hash.hexdigest()) if self._checksum else (None, None)
        return DatasetSummary(self.documents, self.sequences, self.tokens, *digests)

    def abandon(self) -> None:
        """Closes and removes everything that was written."""
        for stream in (self._bin, self._lengths, self._documents):
            with suppress(OSError):  # on a full disk closing fails once more
                stream.close()
        self._remove([*self._partial, *self._spools])

    def __enter__(self) -> "IndexedDatasetWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None:
            self.abandon()

    def _write_tokens(self, block: memoryview | bytes) -> None:
        self._bin.write(block)
        if self._checksum:
            self._bin_hash.update(block)

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
            UserError: a file is missing, is not of this format, or is truncated.
        """
        self.paths = DatasetPaths.of(prefix)
        for path in (self.paths.idx, self.paths.bin):
            if not path.is_file():
                raise UserError(f"{path}: no such file; a dataset is named by its path without .bin or .idx")
        code, self.sequence_count, indices = _read_header(self.paths.idx)
        self.dtype = np.dtype(_CODES[code])
        self.document_count = indices - 1
        self._check_index_size(indices)
        offset = _HEADER.size
        self.sequence_lengths = self._map(np.int32, offset, self.sequence_count)
        self.sequence_pointers = self._map(np.int64, offset + 4 * self.sequence_count, self.sequence_count)
        self.document_indices = self._map(np.int64, offset + 12 * self.sequence_count, indices)
        self.token_count = self._check_bin_size()
        self._fd = os.open(self.paths.bin, os.O_RDONLY)
        self._random_access = random_access
        if random_access and hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)

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
            UserError: the file ends before, because it has become shorter since it was opened.
        """
        size = self.dtype.itemsize
        return np.frombuffer(read_exactly(self._fd, count * size, start * size, self.paths.bin), self.dtype)

    def close(self) -> None:
        """Closes the .bin."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.close()

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


def read_exactly(descriptor: int, size: int, offset: int, path: Path) -> bytes:
    """`size` bytes from `offset` of an open file on; a network file system may answer one request with fewer.

    Raises:
        UserError: the file, whose name is `path`, ends before.
    """
    content = os.pread(descriptor, size, offset)
    while len(content) < size:
        more = os.pread(descriptor, size - len(content), offset + len(content))
        if not more:
            raise UserError(
                f"{path}: ends at byte {offset + len(content):,}, but {size:,} bytes from {offset:,} on were wanted; "
                "it has become shorter since it was opened, copy or write the dataset again"
            )
        content += more
    return content


def _read_header(path: Path) -> tuple[int, int, int]:
    with open(path, "rb") as stream:
        raw = stream.read(_HEADER.size)
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
