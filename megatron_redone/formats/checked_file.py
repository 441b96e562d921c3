"""Reads parts of a large file, and compares what it reads with the checksums beside it, where there are any."""

import os
from pathlib import Path

import xxhash

from megatron_redone.errors import DamageError, UserError
from megatron_redone.formats.block_checksums import BLOCK_BYTES, BlockChecksums

_PIECE = 1024  # blocks that are read at once to check all: 16 MiB


class CheckedFile:
    """An open file. A read takes whole blocks, 16 KiB each, and keeps the last ones for its neighbour.

    Attributes:
        path: Of the file.
        size: In bytes, when it was opened.
    """

    def __init__(self, path: Path, random_access: bool = False) -> None:
        """Opens the file, and its checksums.

        Args:
            path: Of the file.
            random_access: Reads will jump about: the system fetches what is asked for and reads nothing ahead.

        Raises:
            UserError: the checksums are damaged, or those of a file of another size.
        """
        self.path = path
        self._fd = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._fd).st_size
        self._last: tuple[int, memoryview] = (0, memoryview(b""))
        if random_access and hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)
        try:
            self.checksums: BlockChecksums | None = BlockChecksums(path)
        except FileNotFoundError:
            self.checksums = None
        if self.checksums is not None and self.checksums.size != self.size:
            raise DamageError(
                f"{path}: {self.size:,} bytes, but {self.checksums.path.name} is of a file of {self.checksums.size:,}; "
                "one of them is damaged or another's, copy both or write the dataset again"
            )

    def read(self, start: int, count: int) -> memoryview | bytes:
        """`count` bytes from `start` on, read-only.

        Raises:
            UserError: they are not those that were written, or the file has become shorter since it was opened.
        """
        if self.checksums is None or not count:
            return read_exactly(self._fd, count, start, self.path)
        held, blocks = self._last
        if not blocks.nbytes or start < held or start + count > held + blocks.nbytes:
            held, blocks = self._last = self._read_blocks(start // BLOCK_BYTES, -(-(start + count) // BLOCK_BYTES))
        return blocks[start - held : start - held + count]

    def check_all(self) -> None:
        """Compares every byte of a file that has checksums.

        Raises:
            UserError: some are not those that were written.
        """
        if self.checksums is not None:
            for first in range(0, -(-self.size // BLOCK_BYTES), _PIECE):
                self._read_blocks(first, first + _PIECE)

    def close(self) -> None:
        """Closes the file and its checksums."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.checksums is not None:
            self.checksums.close()

    def __enter__(self) -> "CheckedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_fd") and hasattr(self, "checksums"):
            self.close()

    def _read_blocks(self, first: int, last: int) -> tuple[int, memoryview]:
        """The first byte of blocks, and what is in them."""
        assert self.checksums is not None
        start = first * BLOCK_BYTES
        stop = min(last * BLOCK_BYTES, self.size)
        content = memoryview(read_exactly(self._fd, stop - start, start, self.path))
        for number, expected in enumerate(self.checksums.of_blocks(first, -(-stop // BLOCK_BYTES))):
            at = number * BLOCK_BYTES
            if xxhash.xxh3_64_intdigest(content[at : at + BLOCK_BYTES]) != expected:
                raise DamageError(
                    f"{self.path}: damaged (its bytes from {start + at:,} on are not those that were written); "
                    "copy or write the dataset again"
                )
        return start, content


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
