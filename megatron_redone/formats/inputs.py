"""From what a user names (files, directories, globs, URLs) to the list of files to read."""

import glob
import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from megatron_redone.errors import UserError

log = logging.getLogger(__name__)

_JSONL = (".jsonl", ".json", ".ndjson")
SUFFIXES = (*(s + c for c in ("", ".gz", ".zst") for s in _JSONL), ".parquet")


@dataclass(frozen=True)
class InputFile:
    """One file of records.

    Attributes:
        path: A local path or an fsspec URL.
        size: Bytes as stored, compression included.
        version: Changes when the content does: modification time or, from an object store, its tag.
    """

    path: str
    size: int
    version: str

    @property
    def is_parquet(self) -> bool:
        """Whether the records are rows of a Parquet file; JSON lines otherwise."""
        return self.path.endswith(".parquet")

    @property
    def is_splittable(self) -> bool:
        """Whether reading can begin in the middle: plain JSON lines."""
        return self.path.endswith(_JSONL)

    def open(self) -> BinaryIO:
        """Opens the stored bytes."""
        if _is_url(self.path):
            filesystem, inner = _filesystem(self.path)
            return filesystem.open(inner, "rb")
        return open(self.path, "rb")


@dataclass(frozen=True)
class FileRange:
    """A range of one file's bytes. `end` is None for a file that is read whole.

    A line belongs to the range in which its first byte lies.
    """

    file: InputFile
    start: int = 0
    end: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the stored file that it covers."""
        return (self.file.size if self.end is None else self.end) - self.start


def cut_file(file: InputFile, offsets: Sequence[int]) -> list[FileRange]:
    """Cuts a file at byte offsets, ascending and within it; one that cannot be cut stays whole."""
    if not offsets or not file.is_splittable:
        return [FileRange(file)]
    return [FileRange(file, start, end) for start, end in itertools.pairwise([0, *offsets, file.size])]


def expand_inputs(names: Sequence[str]) -> list[InputFile]:
    """Files in the order in which they are named; those of a directory or a glob are sorted.

    Raises:
        UserError: a name matches nothing, or a file has an ending that is not read.
    """
    files: list[InputFile] = []
    for name in names:
        found = _expand_url(name) if _is_url(name) else _expand_local(name)
        if not found:
            raise UserError(f"{name}: no input file there; files end in {', '.join(SUFFIXES)}")
        files += found
    return files


def refuse_inputs_within(place: str | os.PathLike[str], files: Sequence[InputFile]) -> None:
    """Refuses to read what is going to be written.

    Args:
        place: A file or a folder that is written.
        files: Those that are read.

    Raises:
        UserError: one of them is that file, or lies in that folder.
    """
    written = os.path.realpath(place)
    for file in files:
        if not _is_url(file.path) and os.path.commonpath([os.path.realpath(file.path), written]) == written:
            raise UserError(f"output_dir: the input {file.path} lies where output is written; choose another folder")


def _expand_local(name: str) -> list[InputFile]:
    if os.path.isdir(name):
        paths = _known_suffixes(sorted(str(p) for p in Path(name).rglob("*") if p.is_file()), name)
    elif os.path.isfile(name):
        paths = [_check_suffix(name)]
    elif glob.has_magic(name):
        paths = _known_suffixes(sorted(p for p in glob.glob(name, recursive=True) if os.path.isfile(p)), name)
    else:
        raise UserError(f"{name}: no such file or directory")
    stats = [os.stat(path) for path in paths]
    return [InputFile(p, s.st_size, str(s.st_mtime_ns)) for p, s in zip(paths, stats, strict=True)]


def _expand_url(name: str) -> list[InputFile]:
    filesystem, inner = _filesystem(name)
    try:
        if filesystem.isdir(inner):
            details = filesystem.find(inner, detail=True)
        elif glob.has_magic(inner):
            details = filesystem.glob(inner, detail=True)
        else:
            details = {inner: filesystem.info(inner)}
    except FileNotFoundError:
        raise UserError(f"{name}: no such file or directory") from None
    except Exception as error:  # every backend has exceptions of its own
        raise UserError(f"{name}: cannot be listed ({error})") from None
    paths = [_check_suffix(p) for p in details] if len(details) == 1 else _known_suffixes(sorted(details), name)
    return [_from_details(filesystem.unstrip_protocol(path), details[path]) for path in paths]


def _from_details(url: str, info: dict[str, Any]) -> InputFile:
    tags = (info.get(name) for name in ("ETag", "etag", "md5", "mtime", "LastModified", "created"))
    return InputFile(url, int(info["size"]), str(next((tag for tag in tags if tag is not None), "")))


def _known_suffixes(paths: list[str], where: str) -> list[str]:
    known = [path for path in paths if path.endswith(SUFFIXES)]
    if len(known) < len(paths):
        log.warning("%s: %d files with other endings are left out", where, len(paths) - len(known))
    return known


def _check_suffix(path: str) -> str:
    if not path.endswith(SUFFIXES):
        raise UserError(f"{path}: its ending is not one that is read ({', '.join(SUFFIXES)})")
    return path


def _is_url(name: str) -> bool:
    return "://" in name


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise UserError(f"{url}: reading URLs needs `pip install 'megatron_redone[data]'`") from None
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: {error}") from None
