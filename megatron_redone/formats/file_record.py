"""Size and checksums of a file, by which damage is found later."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Files of up to this much in all are read whole when they are looked at again, which takes a second.
_READ_WHOLE = 256 << 20
# Of larger ones so many blocks are read, spread evenly, the first and the last among them.
_BLOCKS = 16
_BLOCK_BYTES = 64 << 10


@dataclass(frozen=True)
class FileRecord:
    """A file of a dataset.

    Attributes:
        size: In bytes.
        sha256: Of all its bytes.
        sample: SHA-256 of sixteen blocks of 64 KiB, spread evenly; empty in what earlier versions wrote.
    """

    size: int
    sha256: str
    sample: str = ""


def record_file(path: Path, sha256: str | None = None) -> FileRecord:
    """The record of a file that has just been written.

    Args:
        path: Of the file.
        sha256: Where it is known already; else the file is read.
    """
    return FileRecord(path.stat().st_size, sha256 or file_sha256(path), sample_sha256(path))


def record_files(folder: Path, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The records of files as JSON holds them, by their names below a folder."""
    return {str(path.relative_to(folder)): dataclasses.asdict(record_file(path)) for path in paths}


def file_sha256(path: Path) -> str:
    """SHA-256 of all bytes of a file."""
    with open(path, "rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def folder_sha256(folder: Path, *, besides: Path) -> str:
    """SHA-256 of the names and bytes of all files below a folder, but hidden ones and what Python keeps of modules.

    Args:
        folder: The folder.
        besides: A folder whose files do not count, such as that of results, which may lie below.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        is_left_out = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not is_left_out and not path.resolve().is_relative_to(besides.resolve()):
            digest.update(f"{'/'.join(parts)} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def sample_sha256(path: Path) -> str:
    """SHA-256 of the blocks that are read of a large file; of a small one, of all of it."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        if size <= _BLOCKS * _BLOCK_BYTES:
            digest.update(stream.read())
        else:
            for number in range(_BLOCKS):
                stream.seek((size - _BLOCK_BYTES) * number // (_BLOCKS - 1))
                digest.update(stream.read(_BLOCK_BYTES))
    return digest.hexdigest()


def damage(files: Mapping[Path, Mapping[str, Any]], *, whole: bool = False) -> list[str]:
    """What is wrong with files, one sentence each.

    Files of up to 256 MiB in all are compared by their SHA-256; of more, by the samples, so that
    terabytes cost seconds: a change between the sampled blocks is then not seen.

    Args:
        files: Their records (`FileRecord`), as JSON holds them.
        whole: Read all of them, however large.
    """
    whole = whole or sum(record["size"] for record in files.values()) <= _READ_WHOLE
    problems = (_damage(path, record, whole) for path, record in files.items())
    return [problem for problem in problems if problem is not None]


def _damage(path: Path, record: Mapping[str, Any], whole: bool) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != record["size"]:
        return f"{path} has {size:,} bytes, not {record['size']:,}"
    known = record["sha256"] if whole else record.get("sample")
    if known and known != (file_sha256 if whole else sample_sha256)(path):
        return f"{path} has other content than was written"
    return None
