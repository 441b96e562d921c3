"""JSON objects out of files, and what stands where one should be."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError
from megatron_redone.formats.inputs import InputFile
from megatron_redone.formats.raw_records import RawRecord, read_raw


@dataclass(frozen=True)
class JsonObject:
    """An object of a file.

    Attributes:
        file: The file's path.
        place: The line on which it begins, from 1, or its row for Parquet.
        number: Which of the file's records it is, from 1: several elements of an array may begin on one line.
        fields: Its keys and values.
    """

    file: str
    place: int
    number: int
    fields: dict[str, Any]


def read_objects(files: Iterable[InputFile]) -> Iterator[JsonObject | InvalidRecord]:
    """Every record, in the order of the files.

    Raises:
        UserError: a file is damaged.
    """
    for file in files:
        numbers = itertools.count(1)
        for batch in read_raw(file):
            for record in batch.records:
                yield _parse(batch.file, next(numbers), record)


def _parse(file: str, number: int, record: RawRecord) -> JsonObject | InvalidRecord:
    try:
        return JsonObject(file, record.place, number, record.parse())
    except InvalidRecordError as reason:
        return InvalidRecord.of(file, record.place, reason, record.json)
