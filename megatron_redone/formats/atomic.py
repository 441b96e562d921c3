"""Files and folders that are there whole or not at all.

What is written lies beside its place, under a name that ends in `.partial`, until all of it is on the
disk; then it is renamed. A reader never meets half of it, whenever the machine goes down.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.lock import exclusive

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[Any]:
    """A stream to write a file's content to; the file appears when the body ends without an error.

    Args:
        path: Of the file.
        mode: `w` for text in UTF-8, `wb` for bytes.
    """
    partial = partial_name(path)
    try:
        with open(partial, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        put_in_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """Where a file or a folder lies while it is written."""
    return path.with_name(path.name + ".partial")


def put_in_place(partial: Path, path: Path) -> None:
    """Gives a written and flushed file its name, and flushes the folder's entry."""
    os.replace(partial, path)
    flush_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with atomic_file(path) as stream:
        stream.write(text)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON for people and programs, as `write_text` does."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False, key: str = "output") -> Iterator[Path]:
    """Gives an empty folder to write to, which becomes `path` when the body ends without an error.

    On any error or interrupt what was written is removed. What a killed process left is removed by the
    next. While one process writes, another is refused.

    Args:
        path: Where the folder is to appear.
        overwrite: Replace what is there.
        key: The configuration's key that names it, for the messages.

    Raises:
        UserError: something is there already, the place cannot be written to, or the disk is full.
    """
    partial = partial_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_name(path.name + ".lock"), path):
            _refuse_existing(path, overwrite, key)
            try:
                begin_folder(partial)
                yield partial
                commit_folder(partial, path)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{key}: {path} could not be written ({disk_reason(error)}); nothing was left there") from None


def begin_folder(partial: Path) -> None:
    """Makes an empty folder to write to, in place of what a killed process has left."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)


def commit_folder(partial: Path, path: Path) -> None:
    """Flushes a written folder and gives it its name, in place of one that is there."""
    flush_tree(partial)
    removed = _aside(path)
    os.replace(partial, path)
    flush_folder(path.parent)
    if removed is not None:
        shutil.rmtree(removed, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder; a removal that is cut short leaves nothing under its name."""
    removed = _aside(path)
    if removed is not None:
        shutil.rmtree(removed, ignore_errors=True)


def flush_tree(path: Path) -> None:
    """Flushes all files and folders below a folder to the disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            flush_file(Path(folder, name))
        flush_folder(Path(folder))


def flush_file(path: Path) -> None:
    """Flushes what a closed file holds to the disk."""
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def flush_folder(path: Path) -> None:
    """Flushes the entries of a folder: which names it holds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing_errors(place: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what a full or read-only disk raises into one line; every other error goes on.

    Args:
        place: What is being written, for the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_FULL, errno.EROFS, errno.EFBIG, errno.EIO):
            raise
        reason = disk_reason(error)
        raise UserError(f"{os.fspath(place)}: could not be written ({reason}); run the same command again") from None


def disk_reason(error: OSError) -> str:
    """Why something could not be written, in a person's words."""
    return "no space is left on the disk" if error.errno in _FULL else error.strerror or str(error)


def _refuse_existing(path: Path, overwrite: bool, key: str) -> None:
    if not overwrite and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{key}: {path} exists; choose another, or set overwrite=true to replace it")


def _aside(path: Path) -> Path | None:
    """Puts a folder under another name, from where it can be removed bit by bit."""
    removed = path.with_name(path.name + ".removed")
    shutil.rmtree(removed, ignore_errors=True)
    if not path.exists():
        return None
    os.replace(path, removed)
    return removed
