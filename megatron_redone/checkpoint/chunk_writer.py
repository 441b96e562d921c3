"""Writes rectangles of tensors to a file of torch's distributed checkpoint, nothing copied, each with its checksum.

In such a file records follow each other, each what torch.save makes of one tensor or object; where they begin stands
in the checkpoint's metadata. torch's own writer lays a copy of every tensor beside the state before it writes. Here a
record is a view of the memory that the state lies in, and of a device at most a block is copied at a time.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch.serialization import get_crc32_options, set_crc32_options

from megatron_redone.checkpoint.rectangles import Rectangle, blocks
from megatron_redone.formats.folder_checksums import Block

BLOCK_BYTES = 16 << 20
"""A record holds so many bytes of a tensor at most, or one row: whoever reads a part reads and checks few others."""


@dataclass(frozen=True)
class Record:
    """What one record of a file holds, and where it lies.

    Attributes:
        key: Of the tensor or object.
        offsets: Of a rectangle in the full tensor; None for an object.
        sizes: Of the rectangle.
        full_shape: Of the full tensor.
        dtype: Its name without `torch.`; empty for an object.
        file: Its name in the checkpoint.
        start: Its first byte in the file.
        length: Its bytes.
        checksum: XXH3 of these, 64 bits.
    """

    key: str
    offsets: tuple[int, ...] | None
    sizes: tuple[int, ...]
    full_shape: tuple[int, ...]
    dtype: str
    file: str
    start: int
    length: int
    checksum: int


def blocks_of(records: Iterable[Record]) -> dict[str, list[Block]]:
    """The checksums of whole files, whose records follow each other without a gap."""
    found: dict[str, list[Block]] = {}
    for record in records:
        found.setdefault(record.file, []).append(Block(record.length, record.checksum))
    return found


class ChunkWriter:
    """Writes one file, record after record."""

    def __init__(self, file: Path) -> None:
        """Creates the file.

        Raises:
            OSError: it cannot be created.
        """
        self.stream = open(file, "wb", buffering=0)
        self._stream = _CheckedStream(self.stream)
        self._name = file.name
        self.records: list[Record] = []

    def __enter__(self) -> "ChunkWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, rectangle: Rectangle, tensor: torch.Tensor) -> None:
        """Adds a rectangle, in blocks.

        Args:
            rectangle: Its place in the full tensor.
            tensor: Its elements, flat and contiguous, on any device.

        Raises:
            OSError: the disk is full, for example.
        """
        for block in blocks(rectangle, BLOCK_BYTES // tensor.itemsize):
            start = block.first - rectangle.first
            self._write_block(block, tensor[start : start + block.count])

    def _write_block(self, block: Rectangle, tensor: torch.Tensor) -> None:
        own = _own_storage(tensor).view(block.sizes)
        dtype = str(tensor.dtype).removeprefix("torch.")
        start, length, checksum = self._stream.record(lambda stream: torch.save(own, stream))
        place = (block.offsets, block.sizes, block.full_shape, dtype)
        self.records.append(Record(block.key, *place, self._name, start, length, checksum))

    def write_object(self, key: str, content: Any) -> None:
        """Adds an object, which megatron-core wants in a list.

        Raises:
            OSError: the disk is full, for example.
        """
        start, length, checksum = self._stream.record(lambda stream: torch.save([content], stream))
        self.records.append(Record(key, None, (), (), "", self._name, start, length, checksum))

    def flush(self) -> None:
        """Waits until all of it is on the disk.

        Raises:
            OSError: it could not be written.
        """
        os.fsync(self.stream.fileno())


class _CheckedStream:
    """What torch.save writes to. Never raises within: torch's writer would end the process over it."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self._end = 0
        self._checksum = xxhash.xxh3_64()
        self._error: OSError | None = None

    def record(self, save: Callable[[Any], None]) -> tuple[int, int, int]:
        """Start, length and checksum of what a function writes.

        Raises:
            OSError: it could not be written.
        """
        start, self._checksum = self._end, xxhash.xxh3_64()
        with _without_crc32():
            save(self)
        if self._error is not None:
            raise self._error
        return start, self._end - start, self._checksum.intdigest()

    def write(self, content: Any) -> int:
        """Writes all of it, or remembers why not."""
        rest = memoryview(content).cast("B")
        size = len(rest)
        self._checksum.update(rest)
        try:
            while len(rest) and self._error is None:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            self._error = error
        self._end += size
        return size

    def flush(self) -> None:
        """Nothing is held back."""


@contextmanager
def _without_crc32() -> Iterator[None]:
    """Leaves the CRC-32 out of archives, which torch never compares and which takes longer than XXH3 and the copy."""
    before = get_crc32_options()
    set_crc32_options(False)
    try:
        yield
    finally:
        set_crc32_options(before)


def _own_storage(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as a tensor that owns no other, which torch.save would write too; of a device a copy."""
    flat = tensor.detach().cpu().view(-1)
    # Through NumPy, which knows no bf16; the numbers are only passed on.
    return torch.from_numpy(flat.view(torch.uint8).numpy()).view(flat.dtype)
