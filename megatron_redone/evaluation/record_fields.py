"""Fields of a log's records, read strictly: what is not exactly as described makes the record invalid."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError
from megatron_redone.formats.inputs import InputFile
from megatron_redone.formats.raw_records import read_raw

_SUM = 1e-3  # by which probabilities that were rounded may miss one

Parsed = TypeVar("Parsed")


def read_all(
    files: list[InputFile], parse: Callable[[Mapping[str, Any]], Parsed]
) -> tuple[list[Parsed], list[InvalidRecord]]:
    """Every record, parsed, and those that are invalid.

    Args:
        files: Where they are.
        parse: Makes something of a record, or raises InvalidRecordError.

    Raises:
        UserError: a file is damaged.
    """
    good: list[Parsed] = []
    invalid: list[InvalidRecord] = []
    for file in files:
        for batch in read_raw(file):
            for record in batch.records:
                try:
                    good.append(parse(record.parse()))
                except InvalidRecordError as reason:
                    invalid.append(InvalidRecord.of(batch.file, record.place, reason, record.json))
    return good, invalid


def field(record: Mapping[str, Any], name: str) -> Any:
    """What stands under a key.

    Raises:
        InvalidRecordError: nothing does.
    """
    if record.get(name) is None:
        raise InvalidRecordError(f"no key '{name}'")
    return record[name]


def number(value: Any, name: str) -> float:
    """A finite number.

    Raises:
        InvalidRecordError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRecordError(f"'{name}' is not a number")
    return float(value)


def truth(value: Any, name: str) -> bool:
    """true or false, or 1 or 0.

    Raises:
        InvalidRecordError: it is neither.
    """
    if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
        return bool(value)
    raise InvalidRecordError(f"'{name}' is neither true nor false, 1 nor 0")


def probability(value: Any, name: str) -> float:
    """A number from 0 to 1.

    Raises:
        InvalidRecordError: it is none.
    """
    found = number(value, name)
    if not 0 <= found <= 1:
        raise InvalidRecordError(f"'{name}' is not between 0 and 1")
    return found


def positive_probability(value: Any, name: str) -> float:
    """A number above 0, to 1: of what has happened.

    Raises:
        InvalidRecordError: it is none.
    """
    found = probability(value, name)
    if found == 0:
        raise InvalidRecordError(f"'{name}' is 0, of what has happened")
    return found


def distribution(value: Mapping[str, Any], name: str) -> dict[str, float]:
    """Probabilities that sum to one.

    Raises:
        InvalidRecordError: one is none, or they do not.
    """
    found = {key: probability(each, name) for key, each in value.items()}
    if abs(sum(found.values()) - 1) > _SUM:
        raise InvalidRecordError(f"the probabilities of '{name}' do not sum to 1")
    return found


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """An object that is not empty.

    Raises:
        InvalidRecordError: it is none.
    """
    if not isinstance(value, dict) or not value:
        raise InvalidRecordError(f"'{name}' is not an object with keys")
    return value


def sequence(value: Any, name: str, length: int) -> list[Any]:
    """A list of as many values as are expected.

    Raises:
        InvalidRecordError: it is none.
    """
    if not isinstance(value, list):
        raise InvalidRecordError(f"'{name}' is not a list")
    if len(value) != length:
        raise InvalidRecordError(f"'{name}' has another length than 'shown'")
    return value
