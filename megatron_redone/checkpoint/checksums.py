"""Checksums of every file of a checkpoint: taken while it is written, compared when it is read.

run/checksums.json holds for each file its size, and a checksum of each of its blocks. Of the files with tensors a block
is a record, so that whoever reads a part checks what it reads and nothing else. XXH3 takes less time than the memory
takes to deliver the bytes; it finds damage, not forgery.
"""

import errno
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from megatron_redone.checkpoint.record import has_checksums
from megatron_redone.errors import DamageError
from megatron_redone.formats.done_check import read_sealed, write_sealed

log = logging.getLogger(__name__)

_FILE = Path("run", "checksums.json")
_PIECE = 16 << 20


@dataclass(frozen=True)
class Block:
    """Bytes of a file that follow each other.

    Attributes:
        length: How many.
        checksum: XXH3 of them, 64 bits.
    """

    length: int
    checksum: int


FileBlocks = Mapping[str, list[Block]]
"""The blocks of each file in order, by its name below the checkpoint; together they are the whole file."""


def write_checksums(checkpoint: Path, known: FileBlocks) -> None:
    """Writes the checksums of every file that is there; nothing may be added to the checkpoint after it.

    Args:
        checkpoint: The folder that is being written.
        known: Of files whose checksums were taken while they were written; the others, which are small, are read.

    Raises:
        OSError: it could not be written, or a file of which checksums are known is gone or has another size.
    """
    for name, found in known.items():
        if (checkpoint / name).stat().st_size != sum(block.length for block in found):
            raise OSError(errno.EIO, f"{name} is not what was written")
    names = sorted(str(file.relative_to(checkpoint)) for file in checkpoint.rglob("*") if file.is_file())
    blocks = {name: known.get(name) or [_read_block(checkpoint / name)] for name in names}
    files = {name: [[b.length, f"{b.checksum:016x}"] for b in found] for name, found in blocks.items()}
    write_sealed(checkpoint / _FILE, {"algorithm": "xxh3_64", "files": files})


def _read_block(file: Path) -> Block:
    found, length = xxhash.xxh3_64(), 0
    with open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            found.update(piece)
            length += len(piece)
    return Block(length, found.intdigest())


class Checksums:
    """What the files of one checkpoint must be."""

    def __init__(self, checkpoint: Path, files: FileBlocks) -> None:
        """Takes the blocks of each file; of those that have none nothing is known."""
        self._checkpoint, self.files = checkpoint, files

    def of_blocks(self) -> dict[tuple[str, int], int]:
        """The checksum of every block, by its file and its first byte."""
        found = {}
        for name, blocks in self.files.items():
            start = 0
            for block in blocks:
                found[name, start] = block.checksum
                start += block.length
        return found

    def check_small_files(self) -> None:
        """Compares all files but those with tensors, which takes milliseconds.

        Raises:
            DamageError: naming the file that is missing or damaged.
        """
        self._check(name for name in self.files if not name.endswith(".distcp"))

    def check_all(self) -> int:
        """Compares every byte of every file, and answers how many these are.

        Raises:
            DamageError: naming the file that is missing or damaged.
        """
        self._check(self.files)
        return sum(block.length for blocks in self.files.values() for block in blocks)

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            problem = _problem(self._checkpoint / name, self.files[name])
            if problem is not None:
                raise DamageError(f"{self._checkpoint / name}: {problem}; take another checkpoint")


def _problem(file: Path, blocks: list[Block]) -> str | None:
    if not file.is_file():
        return "missing"
    size, expected = file.stat().st_size, sum(block.length for block in blocks)
    if size != expected:
        return f"damaged (it has {size:,} bytes, not {expected:,})"
    start = 0
    with open(file, "rb") as stream:
        for block in blocks:
            if xxhash.xxh3_64_intdigest(stream.read(block.length)) != block.checksum:
                return f"damaged (its bytes from {start:,} on are not those that were written)"
            start += block.length
    return None


def read_checksums(checkpoint: Path) -> Checksums:
    """The checksums of a checkpoint; none where an earlier version or another program has written it.

    Raises:
        DamageError: they are damaged, or missing although there were some.
    """
    file = checkpoint / _FILE
    if not file.exists() and not has_checksums(checkpoint):
        log.info("%s: has no checksums, as an earlier version or another program wrote it", checkpoint)
        return Checksums(checkpoint, {})
    content, is_intact = read_sealed(file)
    if content is None or not is_intact:
        raise DamageError(f"{file}: missing or damaged; take another checkpoint")
    return Checksums(checkpoint, _blocks(content))


def _blocks(content: Mapping[str, Any]) -> dict[str, list[Block]]:
    return {name: [Block(length, int(text, 16)) for length, text in found] for name, found in content["files"].items()}
