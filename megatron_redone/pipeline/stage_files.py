"""Files that stages read and write: where they lie, and what tells that one has changed."""

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from megatron_redone.config.schema import FileRead
from megatron_redone.hashing import short_hash

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TOLD_FILES = 3


def is_elsewhere(work_dir: Path, read: FileRead) -> bool:
    """Whether it is none of this machine's files; its name is then all that is looked at."""
    # A hub name looks like a relative path; it is one where its folder is there.
    on_hub = read.or_hub and _HUB_NAME.fullmatch(read.path) and not (work_dir / read.path).parent.exists()
    return "://" in read.path or bool(on_hub)


def is_there(work_dir: Path, path: str) -> bool:
    """Whether it exists, or a file whose path begins with it."""
    return bool(_paths(work_dir, path))


def fingerprint(work_dir: Path, path: str, written: Sequence[str]) -> str:
    """Sixteen hexadecimal digits that change when a file is added, removed or changed (its size or time).

    Args:
        work_dir: What relative paths are seen from.
        path: What is read.
        written: What stages write; it may lie beside what they read, and does not count.
    """
    return short_hash(sorted(file_stats(work_dir, path, written).items()))


def file_stats(work_dir: Path, path: str, others: Sequence[str]) -> dict[str, list[int]]:
    """Bytes and time of the last change, in nanoseconds, of every file of a path, by names seen from `work_dir`.

    Args:
        work_dir: What relative paths are seen from.
        path: A file, a folder, a dataset's prefix or a glob.
        others: Files, folders and prefixes that do not count.
    """
    others = [_absolute(work_dir, other) for other in others]
    return {
        os.path.relpath(file, work_dir): [stat.st_size, stat.st_mtime_ns]
        for found in _paths(work_dir, path)
        for file in _files(found)
        if not any(_holds(other, os.path.normpath(file)) for other in others) and (stat := _stat(file)) is not None
    }


def written_files(work_dir: Path, written: Sequence[str], others: Sequence[str]) -> dict[str, list[int]]:
    """Size and time of every file that a stage has left; locks, and what lies there of `others`, do not count."""
    # Of two stages that write one into the other's folder, the inner one's files are its own.
    inner = [other for other in others if not any(_is_within(work_dir, path, other) for path in written)]
    stats = {name: stat for path in written for name, stat in file_stats(work_dir, path, inner).items()}
    return {name: stat for name, stat in stats.items() if not name.endswith("lock")}


def changed_files(work_dir: Path, before: Mapping[str, Sequence[int]]) -> list[str]:
    """Says of files that a stage has left which are gone or no longer what they were; the first few of many."""
    told = [text for name, stat in before.items() if (text := _change(work_dir, name, stat)) is not None]
    more = len(told) - _TOLD_FILES
    return [*told[:_TOLD_FILES], f"and {more} more of its files"] if more > 0 else told


def _change(work_dir: Path, name: str, before: Sequence[int]) -> str | None:
    stat = _stat(str(work_dir / name))
    if stat is None:
        return f"{name} is not there"
    if stat.st_size != before[0]:
        return f"{name} has another size"
    return f"{name} has changed" if stat.st_mtime_ns != before[1] else None


def touch(work_dir: Path, read: str, written: str) -> bool:
    """Whether what is read may be, hold or be part of what is written: the same path, a folder, a dataset's prefix."""
    if "://" in read or "://" in written:
        return read == written
    one, other = _absolute(work_dir, _fixed_part(read)), _absolute(work_dir, written)
    return _holds(one, other) or _holds(other, one)


def _is_within(work_dir: Path, inner: str, outer: str) -> bool:
    return _holds(_absolute(work_dir, outer), _absolute(work_dir, inner))


def _holds(outer: str, inner: str) -> bool:
    """Whether a path is another, lies in it, or is a file of the dataset with that prefix."""
    return inner == outer or inner.startswith((outer + os.sep, outer + "."))


def _absolute(work_dir: Path, path: str) -> str:
    return os.path.normpath(os.path.join(work_dir, path))


def _fixed_part(path: str) -> str:
    """A path up to its first folder or name with a wildcard."""
    parts = path.split(os.sep)
    magic = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return os.sep.join(parts[:magic])


def _paths(work_dir: Path, name: str) -> list[Path]:
    path = work_dir / name
    if path.exists():
        return [path]
    named = path.parent / "checkpoints" / "best.json"
    if path.name == "best" and named.is_file():  # RUN/best: the checkpoint that is named there
        return [named]
    pattern = str(path) if glob.has_magic(name) else f"{glob.escape(str(path))}.*"
    return [Path(found) for found in sorted(glob.glob(pattern, recursive=True))]


def _stat(file: str) -> os.stat_result | None:
    """None for a link that leads nowhere, and for a file that is removed meanwhile."""
    try:
        return os.stat(file)
    except FileNotFoundError:
        return None


def _files(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(names))
