"""Checksums of every file of a folder: taken while it is written, compared when it is read.

A JSON file in the folder holds for each other file its size, and a checksum of each of its blocks, so that whoever
reads a part checks what it reads and nothing else. XXH3 takes less time than the memory takes to deliver the bytes; it
finds damage, not forgery.
"""

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import xxhash

from megatron_redone.errors import DamageError
from megatron_redone.formats.done_check import read_sealed, write_sealed

# Files with tensors are read in parts, and each part is compared when it is read.
_TENSORS = (".distcp", ".safetensors")
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
"""The blocks of each file in order, by its name below the folder; together they are the whole file."""


class BlockHasher:
    """Takes a file's bytes while they are written, in blocks of one length."""

    def __init__(self, length: int = 4 << 20) -> None:
        """Begins with an empty file; blocks are of `length` bytes, the last of fewer."""
        self._length = length
        self._hash, self._filled = xxhash.xxh3_64(), 0
        self._blocks: list[Block] = []

    def update(self, content: memoryview | bytes) -> None:
        """Takes the next bytes."""
        rest = memoryview(content).cast("B")
        while len(rest):
            piece = rest[: self._length - self._filled]
            self._hash.update(piece)
            self._filled += len(piece)
            rest = rest[len(piece) :]
            if self._filled == self._length:
                self._end_block()

    def finish(self) -> list[Block]:
        """The blocks of the whole file."""
        if self._filled:
            self._end_block()
        return self._blocks

    def _end_block(self) -> None:
        self._blocks.append(Block(self._filled, self._hash.intdigest()))
        self._hash, self._filled = xxhash.xxh3_64(), 0


def write_folder_checksums(folder: Path, file: Path, known: FileBlocks) -> None:
    """Writes the checksums of every file that is there; nothing may be added to the folder after it.

    Args:
        folder: That is being written.
        file: Where in it the checksums are to lie.
        known: Of files whose checksums were taken while they were written; the others, which are small, are read.

    Raises:
        OSError: it could not be written, or a file of which checksums are known is gone or has another size.
    """
    for name, found in known.items():
        if (folder / name).stat().st_size != sum(block.length for block in found):
            raise OSError(errno.EIO, f"{name} is not what was written")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    blocks = {name: known.get(name) or [_read_block(folder / name)] for name in names}
    files = {name: [[b.length, f"{b.checksum:016x}"] for b in found] for name, found in blocks.items()}
    write_sealed(folder / file, {"algorithm": "xxh3_64", "files": files})


def _read_block(file: Path) -> Block:
    found, length = xxhash.xxh3_64(), 0
    with open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            found.update(piece)
            length += len(piece)
    return Block(length, found.intdigest())


class FolderChecksums:
    """What the files of one folder must be."""

    def __init__(self, folder: Path, files: FileBlocks, remedy: str) -> None:
        """Takes the blocks of each file; of those that have none nothing is known.

        Args:
            folder: With the files.
            files: Their blocks.
            remedy: What to do where one is damaged, for the messages.
        """
        self._folder, self.files, self._remedy = folder, files, remedy
        self._checked: set[tuple[str, int]] = set()

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
        """Compares all files but those with tensors, of which only the sizes; it takes milliseconds.

        Raises:
            DamageError: naming the file that is missing or damaged.
        """
        self._check(name for name in self.files if not name.endswith(_TENSORS))
        for name in self.files:
            self._refuse(name, _wrong_size(self._folder / name, self.files[name]))

    def check_all(self) -> int:
        """Compares every byte of every file, and answers how many these are.

        Raises:
            DamageError: naming the file that is missing or damaged.
        """
        self._check(self.files)
        return sum(block.length for blocks in self.files.values() for block in blocks)

    def check_part(self, name: str, start: int, stop: int) -> None:
        """Compares the blocks of a file that hold bytes from `start` up to `stop`, each once.

        Raises:
            DamageError: the file is missing or damaged.
        """
        blocks = self.files.get(name, [])
        for number, end in enumerate(accumulate(block.length for block in blocks)):
            begin = end - blocks[number].length
            if begin < stop and end > start and (name, number) not in self._checked:
                self._refuse(name, _problem(self._folder / name, blocks[number : number + 1], begin))
                self._checked.add((name, number))

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            file, blocks = self._folder / name, self.files[name]
            self._refuse(name, _wrong_size(file, blocks) or _problem(file, blocks))

    def _refuse(self, name: str, problem: str | None) -> None:
        if problem is not None:
            raise DamageError(f"{self._folder / name}: {problem}; {self._remedy}")


def _wrong_size(file: Path, blocks: list[Block]) -> str | None:
    if not file.is_file():
        return "missing"
    size, expected = file.stat().st_size, sum(block.length for block in blocks)
    return None if size == expected else f"damaged (it has {size:,} bytes, not {expected:,})"


def _problem(file: Path, blocks: Iterable[Block], start: int = 0) -> str | None:
    """What is wrong with blocks that follow each other from a byte on."""
    if not file.is_file():
        return "missing"
    with open(file, "rb") as stream:
        stream.seek(start)
        for block in blocks:
            if xxhash.xxh3_64_intdigest(stream.read(block.length)) != block.checksum:
                return f"damaged (its bytes from {start:,} on are not those that were written)"
            start += block.length
    return None


def read_folder_checksums(folder: Path, file: Path, remedy: str) -> FolderChecksums:
    """The checksums of a folder, which must be there.

    Args:
        folder: That is read.
        file: Where in it they lie.
        remedy: What to do where something is damaged, for the messages.

    Raises:
        DamageError: they are damaged or missing.
    """
    content, is_intact = read_sealed(folder / file)
    if content is None or not is_intact or "files" not in content:
        raise DamageError(f"{folder / file}: missing or damaged; {remedy}")
    return FolderChecksums(folder, _blocks(content), remedy)


def _blocks(content: Mapping[str, Any]) -> dict[str, list[Block]]:
    return {name: [Block(length, int(text, 16)) for length, text in found] for name, found in content["files"].items()}
