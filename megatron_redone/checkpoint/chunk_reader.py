"""Reads parts of the tensors in a distributed checkpoint, and compares what it reads with the checksums.

torch's own reader loads every record whole and then copies from it; a record of another program may be an embedding of
gigabytes. A record is a zip archive with the numbers uncompressed in it: large ones are read row by row.
"""

import io
import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
import xxhash
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.checkpoint.utils import _create_file_view

from megatron_redone.errors import DamageError

_WHOLE = 40 << 20  # records of up to so many bytes are read whole; those of our own hold 16 MiB of numbers
_PIECE = 16 << 20  # of larger ones so much at a time

Slices = tuple[slice, ...]


class ChunkReader:
    """Reads from the files of one checkpoint; keeps open the file, and in memory the record, that it has read last."""

    def __init__(
        self, folder: Path, storage: Mapping[MetadataIndex, Any], checksums: Mapping[tuple[str, int], int]
    ) -> None:
        """Takes where the records lie.

        Args:
            folder: Of the checkpoint.
            storage: File, start and length of each record, as the metadata has them.
            checksums: Of records, by the name of their file and their first byte (`chunk_writer.Record`); a record
                that has none is not checked.
        """
        self._folder, self._storage, self._checksums = folder, storage, checksums
        self._file: tuple[str, BinaryIO] | None = None
        self._record: tuple[MetadataIndex, torch.Tensor, int] | None = None
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._checked: set[MetadataIndex] = set()

    def close(self) -> None:
        """Closes the file and forgets the record."""
        if self._file is not None:
            self._file[1].close()
        self._file = self._record = None

    def place(self, index: MetadataIndex) -> tuple[str, int]:
        """The file of a record, and its first byte there."""
        storage = self._storage[index]
        return storage.relative_path, storage.offset

    def read(self, index: MetadataIndex, sizes: Sequence[int], part: Slices, target: torch.Tensor) -> None:
        """Fills a tensor with a part of a record.

        Args:
            index: Of the record.
            sizes: Of the rectangle that it holds.
            part: What is wanted of it, along each dimension.
            target: Of the part's shape, on any device, of the stored type.

        Raises:
            DamageError: a file is missing, truncated or damaged.
        """
        try:
            if self._storage[index].length <= _WHOLE:
                record, start = self._whole(index)
                target.copy_(_numbers(record[start:], sizes, target.dtype)[part])
            else:
                self._read_rows(index, sizes, part, target)
        except (OSError, RuntimeError, EOFError) as error:
            raise self._damaged(index, error) from None

    def read_object(self, index: MetadataIndex) -> Any:
        """An object, of tensors and plain values alone: no code runs.

        Raises:
            DamageError: a file is missing, truncated or damaged, or the object is of another kind.
        """
        try:
            record, _ = self._whole(index)
            content = torch.load(io.BytesIO(record.numpy().tobytes()), map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise self._damaged(index, error) from None
        return content[0] if isinstance(content, list) and len(content) == 1 else content

    def _whole(self, index: MetadataIndex) -> tuple[torch.Tensor, int]:
        """The bytes of a record, and where its numbers begin."""
        if self._record is None or self._record[0] != index:
            storage, self._record = self._storage[index], None
            stream = self._open(index)
            if len(self._buffer) < storage.length:
                self._buffer = torch.empty(storage.length, dtype=torch.uint8)
            record = self._buffer[: storage.length]
            _fill(stream, storage.offset, record)
            expected = self._checksums.get(self.place(index))
            if expected is not None and xxhash.xxh3_64_intdigest(_memory(record)) != expected:
                raise RuntimeError(f"its bytes from {storage.offset:,} on are not those that were written")
            self._record = index, record, _start_of_numbers(stream, storage)
        return self._record[1:]

    def _read_rows(self, index: MetadataIndex, sizes: Sequence[int], part: Slices, target: torch.Tensor) -> None:
        """Of a large record the rows that are wanted, some at a time."""
        self._check_large(index)
        while len(sizes) > 1 and sizes[0] == 1:
            sizes, part, target = sizes[1:], part[1:], target[0]
        stream, storage = self._open(index), self._storage[index]
        start, row_bytes = _start_of_numbers(stream, storage), math.prod(sizes[1:]) * target.itemsize
        if start + sizes[0] * row_bytes > storage.length:
            raise RuntimeError("fewer numbers than the record should have")
        step = max(1, _PIECE // row_bytes)
        for first in range(part[0].start, part[0].stop, step):
            count = min(step, part[0].stop - first)
            rows = torch.empty(count * row_bytes, dtype=torch.uint8)
            _fill(stream, storage.offset + start + first * row_bytes, rows)
            numbers = _numbers(rows, (count, *sizes[1:]), target.dtype)
            target[first - part[0].start :][:count].copy_(numbers[(slice(None), *part[1:])])

    def _check_large(self, index: MetadataIndex) -> None:
        """Reads all of a large record the first time that a part of it is wanted."""
        storage = self._storage[index]
        expected = self._checksums.get(self.place(index))
        if expected is None or index in self._checked:
            return
        stream, found = self._open(index), xxhash.xxh3_64()
        for at in range(0, storage.length, _PIECE):
            piece = torch.empty(min(_PIECE, storage.length - at), dtype=torch.uint8)
            _fill(stream, storage.offset + at, piece)
            found.update(_memory(piece))
        if found.intdigest() != expected:
            raise RuntimeError(f"its bytes from {storage.offset:,} on are not those that were written")
        self._checked.add(index)

    def _open(self, index: MetadataIndex) -> BinaryIO:
        storage = self._storage[index]
        if getattr(storage, "transform_descriptors", None):
            raise RuntimeError("stored through a transformation such as compression")
        if self._file is None or self._file[0] != storage.relative_path:
            self.close()
            self._file = storage.relative_path, open(self._folder / storage.relative_path, "rb", buffering=0)
        return self._file[1]

    def _damaged(self, index: MetadataIndex, error: Exception) -> DamageError:
        file = self._folder / self._storage[index].relative_path
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return DamageError(f"{file}: missing, truncated or damaged ({index.fqn}: {reason}); take another checkpoint")


def _memory(content: torch.Tensor) -> memoryview:
    return memoryview(content.numpy())  # type: ignore[arg-type]


def _fill(stream: BinaryIO, start: int, target: torch.Tensor) -> None:
    """Reads the bytes from `start` on until a tensor of bytes is full."""
    stream.seek(start)
    rest = _memory(target)
    while len(rest):
        taken = stream.readinto(rest)  # type: ignore[attr-defined]
        if not taken:
            raise EOFError("it ends too early")
        rest = rest[taken:]


def _numbers(content: torch.Tensor, sizes: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """The numbers with which bytes begin, in their shape."""
    size = math.prod(sizes) * dtype.itemsize
    if len(content) < size:
        raise RuntimeError("fewer numbers than the record should have")
    return content[:size].view(dtype).view(tuple(sizes))


def _start_of_numbers(stream: BinaryIO, storage: Any) -> int:
    """Where in a record the numbers of its tensor begin; 0 for an object that has none."""
    archive: Any = torch._C.PyTorchFileReader(_create_file_view(stream, storage.offset, storage.length))  # type: ignore
    return archive.get_record_offset("data/0") if archive.has_record("data/0") else 0
