"""Reads the texts of an input file, whatever its kind."""

import itertools
from collections.abc import Iterable, Iterator

import orjson

from megatron_redone.formats.input_records import (
    MOST_BYTES,
    InvalidRecord,
    InvalidRecordError,
    RecordBatch,
    check_size,
)
from megatron_redone.formats.inputs import FileRange
from megatron_redone.formats.json_values import has_too_many_levels, json_type, parse_object
from megatron_redone.formats.jsonl import read_lines
from megatron_redone.formats.parquet import read_column
from megatron_redone.formats.raw_records import array_elements, begins_an_array

_ELEMENTS = 256  # of an array, handled at once


def read_records(piece: FileRange, key: str, most_bytes: int = MOST_BYTES) -> Iterator[RecordBatch]:
    """The records of a piece, some megabytes at a time.

    Args:
        piece: Where to read. A file that cannot be cut belongs to the piece in which it begins.
        key: The key (or the Parquet column) that holds the text.
        most_bytes: Of a record; a larger one is invalid.

    Raises:
        UserError: the file itself is damaged or has no such column.
    """
    if piece.file.is_parquet:
        return read_column(piece, key, most_bytes)
    read = _read_array if begins_an_array(piece.file) else _read_lines
    return read(piece, key, most_bytes)


def _read_lines(piece: FileRange, key: str, most_bytes: int) -> Iterator[RecordBatch]:
    first = 1
    for lines, consumed in read_lines(piece, most_bytes):
        texts, invalid = _texts_of(lines, range(first, first + len(lines)), piece.file.path, key, most_bytes)
        yield RecordBatch(texts, invalid, len(lines), consumed)
        first += len(lines)


def _read_array(piece: FileRange, key: str, most_bytes: int) -> Iterator[RecordBatch]:
    elements = array_elements(piece.file, most_bytes) if piece.start == 0 else iter(())
    counted = 0
    while chunk := list(itertools.islice(elements, _ELEMENTS)):
        places, records = zip(*chunk, strict=True)
        texts, invalid = _texts_of(records, places, piece.file.path, key, most_bytes)
        consumed = min(sum(map(len, records)), piece.size - counted)
        counted += consumed
        yield RecordBatch(texts, invalid, len(records), consumed)
    yield RecordBatch([], [], 0, piece.size - counted)


def _texts_of(
    records: Iterable[bytes], places: Iterable[int], file: str, key: str, most_bytes: int
) -> tuple[list[str], list[InvalidRecord]]:
    """The texts of records, and the records that have none."""
    records = list(records)
    try:
        return _texts_at_once(records, key, most_bytes), []
    except (ValueError, KeyError, TypeError, IndexError, InvalidRecordError):
        pass
    texts, invalid = [], []
    for place, record in zip(places, records, strict=True):
        try:
            texts.append(_text(check_size(record, most_bytes), key))
        except InvalidRecordError as reason:
            invalid.append(InvalidRecord.of(file, place, reason, record))
    return texts, invalid


def _texts_at_once(records: list[bytes], key: str, most_bytes: int) -> list[str]:
    """The texts where all records have one; anything that is raised says that not all have."""
    values = list(map(orjson.loads, records))
    texts = [value[key] for value in values]
    # As a method of the class `strip` accepts nothing but strings.
    if not all(map(str.strip, texts)) or max(map(len, records), default=0) > most_bytes:
        raise ValueError
    if any(map(has_too_many_levels, records, values)):
        raise ValueError
    return texts


def _text(json: bytes, key: str) -> str:
    record = parse_object(json)
    if key not in record:
        raise InvalidRecordError(f"no key '{key}'")
    text = record[key]
    if text is None:
        raise InvalidRecordError("no text")
    if not isinstance(text, str):
        raise InvalidRecordError(f"'{key}' is a {json_type(text)}, not a string")
    if not text.strip():
        raise InvalidRecordError("empty text")
    return text
