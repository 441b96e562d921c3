"""Records as they come from any input file: texts, and which records are invalid, with the reason."""

import dataclasses
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.formats.atomic import partial_name, put_in_place

Messages = list[dict[str, Any]]
"""The turns of a conversation: `role`, `content`, and what a template reads besides."""

# The largest record where no key says another: a text of some million words.
MOST_BYTES = 64 << 20

# What is kept of an invalid record, for a person to look at: bytes or characters.
EXCERPT = 500


class InvalidRecordError(Exception):
    """A record that cannot be used; the text is the reason, without the record's own words: reasons are counted."""


def check_size(record: bytes, most_bytes: int) -> bytes:
    """A record that is not too large.

    Raises:
        InvalidRecordError: it is.
    """
    if len(record) > most_bytes:
        raise InvalidRecordError(too_large(most_bytes))
    return record


def too_large(most_bytes: int) -> str:
    """The reason of a record that is too large."""
    return f"a record of more than {most_bytes / (1 << 20):g} MB"


@dataclass(frozen=True)
class InvalidRecord:
    """A record that cannot be used. NAME.invalid.jsonl has these keys.

    Attributes:
        file: Of the record.
        place: The line on which it begins, from 1, or its row for Parquet.
        reason: What is wrong with it, without its own text, so that reasons can be counted.
        excerpt: The beginning of it.
    """

    file: str
    place: int
    reason: str
    excerpt: str

    @classmethod
    def of(cls, file: str, place: int, reason: str | Exception, record: bytes | str) -> "InvalidRecord":
        """One whose excerpt is cut from the whole record."""
        excerpt = record[:EXCERPT]
        return cls(file, place, str(reason), excerpt if isinstance(excerpt, str) else excerpt.decode(errors="replace"))

    def as_line(self) -> str:
        """A line of NAME.invalid.jsonl."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False) + "\n"


def invalid_path(prefix: str | os.PathLike[str]) -> Path:
    """Where the invalid records of what is written under a prefix are listed."""
    return Path(f"{os.fspath(prefix)}.invalid.jsonl")


class InvalidRecordWriter:
    """Lists invalid records in a file, which appears when `finish` is called.

    Attributes:
        path: Of the file.
        is_finished: Whether `finish` was called.
    """

    def __init__(self, path: Path) -> None:
        """Opens a partial file."""
        self.path = path
        self.is_finished = False
        self._partial = partial_name(path)
        self._stream = open(self._partial, "w", encoding="utf-8")

    def add(self, record: InvalidRecord) -> None:
        """Writes a record."""
        self._stream.write(record.as_line())

    def finish(self) -> bool:
        """Gives the file its name; where there are no records, removes what an earlier run has left.

        Returns:
            Whether there are any.
        """
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self.is_finished = True
        if self._partial.stat().st_size:
            put_in_place(self._partial, self.path)
            return True
        self._partial.unlink()
        self.path.unlink(missing_ok=True)
        return False

    def abandon(self) -> None:
        """Removes what was written."""
        with suppress(OSError):  # on a full disk closing fails once more
            self._stream.close()
        self._partial.unlink(missing_ok=True)


def write_invalid(path: Path, records: Iterable[InvalidRecord]) -> bool:
    """Lists invalid records in a file; see `InvalidRecordWriter.finish`."""
    writer = InvalidRecordWriter(path)
    try:
        for record in records:
            writer.add(record)
        return writer.finish()
    finally:
        writer.abandon()


@dataclass(frozen=True)
class RecordBatch:
    """Some consecutive records of a piece.

    Attributes:
        texts: The texts of the valid ones, in order.
        invalid: The others, counted from the beginning of the piece.
        records: How many there were in all.
        bytes: How far reading the stored file went on with them.
    """

    texts: list[str]
    invalid: list[InvalidRecord]
    records: int
    bytes: int
