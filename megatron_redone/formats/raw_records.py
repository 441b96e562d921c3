"""Records of input files as they stand there, not yet parsed: JSON lines, a JSON array, or rows of Parquet."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from megatron_redone.formats.arrow_values import UnreadableValue
from megatron_redone.formats.input_records import EXCERPT, MOST_BYTES, InvalidRecordError, too_large
from megatron_redone.formats.inputs import FileRange, InputFile
from megatron_redone.formats.json_array import read_array
from megatron_redone.formats.json_values import parse_object, to_json
from megatron_redone.formats.jsonl import decompressed, read_lines, reading_errors
from megatron_redone.formats.parquet import read_rows

# Records handed on at once: enough work to be worth sending to another process.
_RECORDS = 256


class RawRecord(NamedTuple):
    """One record; a tuple, which is made four times as fast as a frozen dataclass.

    Attributes:
        place: The line on which it begins, from 1, or its row for Parquet; elements of an array may share a line.
        json: It, in JSON; of one that cannot be read what can be shown of it.
        fault: Why it cannot be read, where the reader knows.
    """

    place: int
    json: bytes
    fault: str | None = None

    def parse(self) -> dict[str, Any]:
        """The record's keys and values.

        Raises:
            InvalidRecordError: it is no JSON object, or cannot be read.
        """
        if self.fault is not None:
            raise InvalidRecordError(self.fault)
        return parse_object(self.json)


@dataclass(frozen=True)
class RawBatch:
    """Some consecutive records of a file.

    Attributes:
        file: Its path.
        records: They.
    """

    file: str
    records: list[RawRecord]


def read_raw(source: InputFile | FileRange, most_bytes: int = MOST_BYTES) -> Iterator[RawBatch]:
    """The records of a file or of a piece of it, in order.

    Args:
        source: Where to read. Lines are counted from the beginning of the piece. What cannot be cut belongs to the
            piece in which it begins.
        most_bytes: Of a record; a larger one is invalid.

    Raises:
        UserError: the file is damaged.
    """
    piece = source if isinstance(source, FileRange) else FileRange(source)
    records = _rows(piece.file, most_bytes) if piece.file.is_parquet else _json_records(piece, most_bytes)
    while chunk := list(itertools.islice(records, _RECORDS)):
        yield RawBatch(piece.file.path, chunk)


def begins_an_array(file: InputFile) -> bool:
    """Whether a file holds one JSON array, whose parts cannot be read by themselves, rather than JSON lines."""
    with file.open() as stored, reading_errors(file.path):
        start = decompressed(file.path, stored).read(1 << 12)
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def array_elements(file: InputFile, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The elements of an array, with the lines on which they begin; see `read_array`."""
    with file.open() as stored, reading_errors(file.path):
        yield from read_array(decompressed(file.path, stored), file.path, most_bytes)


def _json_records(piece: FileRange, most_bytes: int) -> Iterator[RawRecord]:
    if not begins_an_array(piece.file):
        lines = itertools.chain.from_iterable(lines for lines, _ in read_lines(piece, most_bytes))
        numbered = enumerate(lines, 1)
    else:
        numbered = array_elements(piece.file, most_bytes) if piece.start == 0 else ()
    for place, json in numbered:
        yield _checked(place, json, most_bytes)


def _rows(file: InputFile, most_bytes: int) -> Iterator[RawRecord]:
    for number, row in enumerate(read_rows(file, most_bytes), 1):
        if isinstance(row, UnreadableValue):
            yield RawRecord(number, row.excerpt, str(row))
        else:
            yield _checked(number, to_json(row), most_bytes)


def _checked(place: int, json: bytes, most_bytes: int) -> RawRecord:
    if len(json) > most_bytes:
        return RawRecord(place, json[:EXCERPT], too_large(most_bytes))
    return RawRecord(place, json)
