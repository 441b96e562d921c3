"""FILE.xxh3: a checksum of every 16 KiB of a large file, so that whoever reads a part of it checks what it reads.

    pages of 4 KiB    511 checksums, each of 16 KiB of the file, zeros after the last; then the checksum of these 511
    the end, 56 bytes b"RDXXH3\\0\\1", uint64 size of the file, its SHA-256, and the checksum of the 48 bytes before

All numbers are little-endian uint64, all checksums XXH3 of 64 bits, those of pages with the page's number as the seed.
So a damaged file and damaged checksums can be told apart, and nothing of either need be read but what is wanted.
Checksums take 0.05 % of the file's size; they find damage, not forgery.
"""

import hashlib
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash

from megatron_redone.errors import DamageError
from megatron_redone.formats.atomic import partial_name, put_in_place

BLOCK_BYTES = 16 << 10
SUFFIX = ".xxh3"
_PAGE = 4 << 10
_ON_PAGE = _PAGE // 8 - 1
_MAGIC = b"RDXXH3\x00\x01"
_END = struct.Struct("<8sQ32s")
_CHECKSUM = struct.Struct("<Q")
_END_BYTES = _END.size + _CHECKSUM.size


def checksums_path(file: Path) -> Path:
    """Where the checksums of a file lie."""
    return file.with_name(file.name + SUFFIX)


class BlockChecksumWriter:
    """Takes a file's bytes while they are written; the checksums appear under their name by `put_in_place`."""

    def __init__(self, file: Path) -> None:
        """Opens the partial file of the checksums of `file`."""
        self.path = checksums_path(file)
        self._partial = partial_name(self.path)
        self._stream: BinaryIO = open(self._partial, "wb")
        self._sha256 = hashlib.sha256()
        self._block, self._filled = xxhash.xxh3_64(), 0
        self._page: list[int] = []
        self._pages = self._size = 0

    def update(self, content: memoryview | bytes) -> None:
        """Takes the next bytes of the file."""
        rest = memoryview(content).cast("B")
        self._sha256.update(rest)
        self._size += len(rest)
        while len(rest):
            piece = rest[: BLOCK_BYTES - self._filled]
            self._block.update(piece)
            self._filled += len(piece)
            rest = rest[len(piece) :]
            if self._filled == BLOCK_BYTES:
                self._end_block()

    def finish(self) -> str:
        """Writes what is left, flushes it to the disk and answers the SHA-256 of the file."""
        if self._filled:
            self._end_block()
        if self._page:
            self._write_page()
        end = _END.pack(_MAGIC, self._size, self._sha256.digest())
        self._stream.write(end + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(end)))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        return self._sha256.hexdigest()

    def put_in_place(self) -> None:
        """Gives the finished checksums their name."""
        put_in_place(self._partial, self.path)

    def abandon(self) -> None:
        """Closes and removes what was written.

        Raises:
            OSError: on a full disk closing fails once more; the file is removed all the same.
        """
        self._partial.unlink(missing_ok=True)
        self._stream.close()

    def _end_block(self) -> None:
        self._page.append(self._block.intdigest())
        self._block, self._filled = xxhash.xxh3_64(), 0
        if len(self._page) == _ON_PAGE:
            self._write_page()

    def _write_page(self) -> None:
        content = np.array(self._page, "<u8").tobytes().ljust(8 * _ON_PAGE, b"\0")
        self._stream.write(content + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(content, self._pages)))
        self._pages += 1
        self._page = []


class BlockChecksums:
    """Reads the checksums of one file.

    Attributes:
        size: Of the file, in bytes.
        sha256: Of the file, in hexadecimal digits.
    """

    def __init__(self, file: Path) -> None:
        """Opens the checksums of `file`.

        Raises:
            DamageError: they are damaged.
            FileNotFoundError: there are none.
        """
        self.path = checksums_path(file)
        self._fd = os.open(self.path, os.O_RDONLY)
        self._page: tuple[int, bytes] = (-1, b"")
        found = os.fstat(self._fd).st_size
        end = os.pread(self._fd, _END_BYTES, max(0, found - _END_BYTES))
        if len(end) < _END_BYTES or _CHECKSUM.pack(xxhash.xxh3_64_intdigest(end[: _END.size])) != end[_END.size :]:
            raise self._damaged()
        magic, self.size, digest = _END.unpack_from(end)
        self.sha256 = digest.hex()
        blocks = -(-self.size // BLOCK_BYTES)
        if magic != _MAGIC or found != _PAGE * -(-blocks // _ON_PAGE) + _END_BYTES:
            raise self._damaged()

    def of_blocks(self, first: int, last: int) -> list[int]:
        """The checksums of the blocks from `first` up to, but not including, `last`.

        Raises:
            DamageError: they are damaged.
        """
        found: list[int] = []
        while first < last:
            page, place = divmod(first, _ON_PAGE)
            count = min(last - first, _ON_PAGE - place)
            found += struct.unpack_from(f"<{count}Q", self._read_page(page), 8 * place)
            first += count
        return found

    def close(self) -> None:
        """Closes the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.close()

    def _read_page(self, number: int) -> bytes:
        if self._page[0] != number:
            content = os.pread(self._fd, _PAGE, number * _PAGE)
            own = xxhash.xxh3_64_intdigest(memoryview(content)[: 8 * _ON_PAGE], number)
            if len(content) < _PAGE or _CHECKSUM.unpack_from(content, 8 * _ON_PAGE)[0] != own:
                raise self._damaged()
            self._page = number, content
        return self._page[1]

    def _damaged(self) -> DamageError:
        return DamageError(f"{self.path}: damaged; copy it again, or write what it belongs to again")
