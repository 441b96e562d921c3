"""JSON objects out of files, and what stands where one should be."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError
from megatron_redone.formats.inputs import InputFile
from megatron_redone.formats.jsonl import parse_object
from megatron_redone.formats.raw_records import read_raw


@dataclass(frozen=True)
class JsonObject:
    """An object of a file.

    Attributes:
        file: The file's path.
        place: Its number there, from 1: of its line, of its element in a JSON array, or of its row for Parquet.
        fields: Its keys and values.
    """

    file: str
    place: int
    fields: dict[str, Any]


def read_objects(files: Iterable[InputFile]) -> Iterator[JsonObject | InvalidRecord]:
    """Every record, in the order of the files.

    Raises:
        UserError: a file is damaged.
    """
    for file in files:
        for batch in read_raw(file):
            for place, record in zip(batch.places, batch.records, strict=True):
                yield _parse(batch.file, place, record)


def _parse(file: str, place: int, record: bytes) -> JsonObject | InvalidRecord:
    try:
        return JsonObject(file, place, parse_object(record))
    except InvalidRecordError as reason:
        return InvalidRecord.of(file, place, reason, record)
