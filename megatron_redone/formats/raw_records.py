"""Records of input files as they stand there, not yet parsed: JSON lines, a JSON array, or rows of Parquet."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from megatron_redone.formats.arrow_values import UnreadableValue
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.inputs import FileRange, InputFile
from megatron_redone.formats.json_array import read_array
from megatron_redone.formats.jsonl import decompressed, parse_object, read_lines, reading_errors, to_json
from megatron_redone.formats.parquet import read_rows

# Records handed on at once: enough work to be worth sending to another process.
_RECORDS = 256


@dataclass(frozen=True)
class RawRecord:
    """One record.

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


def read_raw(file: InputFile) -> Iterator[RawBatch]:
    """The records of a file, in order.

    Raises:
        UserError: the file is damaged.
    """
    records = _rows(file) if file.is_parquet else itertools.starmap(RawRecord, _json_values(file))
    while chunk := list(itertools.islice(records, _RECORDS)):
        yield RawBatch(file.path, chunk)


def _json_values(file: InputFile) -> Iterator[tuple[int, bytes]]:
    return _array(file) if begins_an_array(file) else _lines(file)


def begins_an_array(file: InputFile) -> bool:
    """Whether a file holds one JSON array, whose parts cannot be read by themselves, rather than JSON lines."""
    with file.open() as stored, reading_errors(file.path):
        start = decompressed(file.path, stored).read(1 << 12)
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _array(file: InputFile) -> Iterator[tuple[int, bytes]]:
    with file.open() as stored, reading_errors(file.path):
        yield from read_array(decompressed(file.path, stored), file.path)


def _lines(file: InputFile) -> Iterator[tuple[int, bytes]]:
    return enumerate(itertools.chain.from_iterable(lines for lines, _ in read_lines(FileRange(file))), 1)


def _rows(file: InputFile) -> Iterator[RawRecord]:
    for number, row in enumerate(read_rows(file), 1):
        if isinstance(row, UnreadableValue):
            excerpt = row.excerpt.encode(errors="replace") if isinstance(row.excerpt, str) else row.excerpt
            yield RawRecord(number, excerpt, str(row))
        else:
            yield RawRecord(number, to_json(row))
