"""Records as they come from any input file: texts, and what was refused with its reason."""

from dataclasses import dataclass
from typing import Any

from megatron_redone.formats.inputs import InputFile

Messages = list[dict[str, Any]]
"""The turns of a conversation: `role`, `content`, and what a template reads besides."""

# What is kept of a refused record, for a person to look at.
EXCERPT = 500


@dataclass(frozen=True)
class Piece:
    """A range of one file. `end` is None for a file that is read whole.

    A line belongs to the piece in which its first byte lies.
    """

    file: InputFile
    start: int = 0
    end: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the stored file that the piece covers."""
        return (self.file.size if self.end is None else self.end) - self.start


@dataclass(frozen=True)
class Rejected:
    """A record that was refused.

    Attributes:
        line: Its number in the piece, from 1; a row's number for Parquet.
        reason: What is wrong with it, without its own text, so that reasons can be counted.
        record: The beginning of it.
    """

    line: int
    reason: str
    record: str


@dataclass(frozen=True)
class RecordBatch:
    """Some consecutive records of a piece.

    Attributes:
        texts: The texts of the good ones, in order.
        rejected: The others.
        records: How many there were in all.
        bytes: How far reading the stored file went on with them.
    """

    texts: list[str]
    rejected: list[Rejected]
    records: int
    bytes: int
