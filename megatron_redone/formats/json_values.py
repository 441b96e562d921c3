"""One rule of what JSON is read, for lines, arrays, rows and texts within records, in all stages.

| what | is |
| --- | --- |
| a byte order mark before a record | passed over |
| integers of up to 300 digits | read exactly |
| a key that is there twice | its last value, as in every reader of JSON |
| NaN, infinities, numbers that no 64-bit float holds | invalid: JSON does not have them |
| half a surrogate pair (`\\ud83d`: half an emoji) | invalid: no text has it, no tokenizer takes it |
| bytes that are not UTF-8 | invalid |
| more than 200 levels of arrays and objects | invalid |
"""

import json
import math
import re
from typing import Any

import orjson

from megatron_redone.formats.input_records import InvalidRecordError

# orjson writes 254 levels, and templates and Python's own writer go down by recursion: everything that is read here can
# be rendered and written again, with what is put around it.
MOST_LEVELS = 200

NOT_FINITE = "NaN or an infinity, which JSON does not have"

_BOM = b"\xef\xbb\xbf"
# orjson makes a float of an integer of more than 64 bits; a shorter one has fewer digits.
_LONG_NUMBER = re.compile(rb"[0-9]" * 19)  # written out, which is searched for three times as fast
_MOST_DIGITS = 300  # so that each is a float too
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


class UnreadableJson(InvalidRecordError):
    """JSON that breaks the rule of this module, rather than no JSON at all."""


def parse_object(text: bytes) -> dict[str, Any]:
    """A record from its JSON.

    Raises:
        InvalidRecordError: it is no JSON object.
    """
    if not text.strip():
        raise InvalidRecordError("empty line")
    record = parse_value(text)
    if not isinstance(record, dict):
        raise InvalidRecordError(f"a JSON {json_type(record)}, not an object")
    return record


def parse_value(text: bytes) -> Any:
    """A value from its JSON; see the module.

    Raises:
        InvalidRecordError: it is none; the reason is the true cause.
    """
    text = text.removeprefix(_BOM)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _why_not_read(text) from None
    if has_too_many_levels(text, value):
        raise UnreadableJson(_TOO_DEEP)
    return _parse_exactly(text) if _LONG_NUMBER.search(text) else value


def has_too_many_levels(text: bytes, value: Any) -> bool:
    """Whether arrays and objects are nested deeper than is read.

    Args:
        text: The JSON.
        value: What it is.
    """
    if text.count(b"[") + text.count(b"{") <= MOST_LEVELS:
        return False
    containers = [value]
    for _ in range(MOST_LEVELS):
        containers = [inner for one in containers for inner in _inner(one) if isinstance(inner, (dict, list))]
    return bool(containers)


def to_json(value: Any, sort_keys: bool = False) -> bytes:
    """A value in JSON, integers of any length included."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort_keys else None)
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False, sort_keys=sort_keys).encode()


def json_type(value: Any) -> str:
    """The type of a parsed value in JSON's words."""
    if value is None:
        return "null"
    return {bool: "boolean", str: "string", list: "array", dict: "object"}.get(type(value), "number")


_TOO_DEEP = f"nested deeper than {MOST_LEVELS} levels"


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _why_not_read(text: bytes) -> InvalidRecordError:
    """Why orjson does not read a text."""
    try:
        value = _parse_exactly(text)
    except InvalidRecordError as reason:
        return reason
    if has_too_many_levels(text, value):
        return UnreadableJson(_TOO_DEEP)
    # Python's own reader takes halves of pairs, which orjson does not.
    if _HALF_A_PAIR.search(json.dumps(value, ensure_ascii=False)):
        return UnreadableJson("half a surrogate pair, which is no character")
    return InvalidRecordError("malformed JSON")


def _parse_exactly(text: bytes) -> Any:
    """By Python's own reader, which is ten times slower and reads integers of any length.

    Raises:
        InvalidRecordError: it is no JSON.
    """
    try:
        return json.loads(text.decode(), parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer)
    except UnicodeDecodeError:
        raise UnreadableJson("invalid UTF-8") from None
    except RecursionError:
        raise UnreadableJson(_TOO_DEEP) from None
    except ValueError:
        raise InvalidRecordError("malformed JSON") from None


def _refuse_constant(_: str) -> None:
    raise UnreadableJson(NOT_FINITE)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UnreadableJson("a number too large for a float of 64 bits")
    return number


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise UnreadableJson(f"an integer of more than {_MOST_DIGITS} digits")
    return int(text)
