"""JSON objects out of files, and what stands where one should be."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from megatron_redone.formats.input_records import EXCERPT
from megatron_redone.formats.inputs import InputFile
from megatron_redone.formats.raw_records import read_raw


@dataclass(frozen=True)
class JsonObject:
    """An object of a file.

    Attributes:
        file: The file's path.
        line: Where it begins, from 1; its row for Parquet.
        number: Which of the file's records it is, from 1: an array may stand on one line.
        fields: Its keys and values.
    """

    file: str
    line: int
    number: int
    fields: dict[str, Any]


@dataclass(frozen=True)
class NotAnObject:
    """Something else: its place, why it is no object, and its beginning."""

    file: str
    line: int
    reason: str
    excerpt: str


def read_objects(files: Iterable[InputFile]) -> Iterator[JsonObject | NotAnObject]:
    """Every record, in the order of the files.

    Raises:
        UserError: a file is damaged.
    """
    for file in files:
        numbers = itertools.count(1)
        for batch in read_raw(file):
            for line, record in zip(batch.places, batch.records, strict=True):
                yield _parse(batch.file, line, next(numbers), record)


def _parse(file: str, line: int, number: int, record: bytes) -> JsonObject | NotAnObject:
    try:
        value = orjson.loads(record)
    except orjson.JSONDecodeError:
        reason = "malformed JSON" if record.strip() else "empty line"
    else:
        if isinstance(value, dict):
            return JsonObject(file, line, number, value)
        reason = "not a JSON object"
    return NotAnObject(file, line, reason, record[:EXCERPT].decode(errors="replace"))
