"""Records of input files as they stand there, not yet parsed: JSON lines, a JSON array, or rows of Parquet."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from megatron_redone.errors import UserError
from megatron_redone.formats.inputs import FileRange, InputFile
from megatron_redone.formats.json_array import read_array
from megatron_redone.formats.jsonl import decompressed, read_lines, reading_errors

# Records handed on at once: enough work to be worth sending to another process.
_RECORDS = 256


@dataclass(frozen=True)
class RawBatch:
    """Some consecutive records of a file.

    Attributes:
        file: Its path.
        places: The line on which each begins, from 1, or its row for Parquet; elements of an array may share a line.
        records: Each in JSON.
    """

    file: str
    places: list[int]
    records: list[bytes]


def read_raw(file: InputFile) -> Iterator[RawBatch]:
    """The records of a file, in order.

    Raises:
        UserError: the file is damaged.
    """
    numbered = _rows(file) if file.is_parquet else _json_values(file)
    while chunk := list(itertools.islice(numbered, _RECORDS)):
        places, records = zip(*chunk, strict=True)
        yield RawBatch(file.path, list(places), list(records))


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


def _rows(file: InputFile) -> Iterator[tuple[int, bytes]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f"{file.path}: reading it needs `pip install 'megatron_redone[data]'`") from None
    try:
        with file.open() as stored:
            yield from enumerate(_as_json(pq.ParquetFile(stored).iter_batches(_RECORDS)), 1)
    except pa.ArrowException as error:
        raise UserError(f"{file.path}: not a readable Parquet file ({error})") from None


def _as_json(batches: Iterable[Any]) -> Iterator[bytes]:
    for batch in batches:
        for row in batch.to_pylist():
            yield orjson.dumps(row, default=str)
