"""What is read as JSON, and the reason of what is not; the oracle is Python's own reader."""

import json
from typing import Any

import pytest

from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.json_values import MOST_LEVELS, json_type, parse_object, parse_value, to_json

HALF = "half a surrogate pair, which is no character"
NAN = "NaN or an infinity, which JSON does not have"
DEEP = "nested deeper than 200 levels"
LONG = 123456789012345678901234567890


@pytest.mark.parametrize(
    "text",
    ["12", str(LONG), f'{{"a": [{LONG}, -{LONG}, 0.{LONG}, "{LONG}"]}}', "1e308", "-0.0", '"\\ud83d\\ude00"',
     '{"a": 1, "a": 2}', "[" * MOST_LEVELS + "]" * MOST_LEVELS, '"' + "[" * 500 + '"', '{"a": "' + "[{" * 300 + '"}',
     json.dumps([[[]]] * 300), "9" * 300],
)  # fmt: skip
def test_what_json_is_is_read_exactly(text: str) -> None:
    for mark in ("", "\ufeff"):
        assert repr(parse_value((mark + text).encode())) == repr(json.loads(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "malformed JSON"),
        (b'{"a": 1,}', "malformed JSON"),
        (b'"a\x01"', "malformed JSON"),
        (b"1.", "malformed JSON"),
        (b'{"a": NaN}', NAN),
        (b"[1, -Infinity]", NAN),
        (b"[1e400]", "a number too large for a float of 64 bits"),
        (b"9" * 301, "an integer of more than 300 digits"),
        (b'"cut \\ud83d"', HALF),
        (b'{"\\ude00": 1}', HALF),
        (b'"\xff\xfe"', "invalid UTF-8"),
        (b'"\xed\xa0\xbd"', "invalid UTF-8"),
        (b"[" * 201 + b"]" * 201, DEEP),
        (b"[" * 2000 + b"]" * 2000, DEEP),
        (b'{"a":' * 201 + b"1" + b"}" * 201, DEEP),
        (b"[" * 100_000, DEEP),
    ],
)
def test_the_reason_is_the_true_cause(text: bytes, reason: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        parse_value(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [("null", "null"), ("true", "boolean"), ("1", "number"), ("1.5", "number"), ('"a"', "string"), ("[]", "array"),
     ("{}", "object")],
)  # fmt: skip
def test_a_record_is_an_object_or_says_what_it_is(text: str, expected: str) -> None:
    value: Any = json.loads(text)
    assert json_type(value) == expected
    if expected == "object":
        assert parse_object(text.encode()) == value
    else:
        with pytest.raises(InvalidRecordError, match=f"^a JSON {expected}, not an object$"):
            parse_object(text.encode())
    with pytest.raises(InvalidRecordError, match=r"^empty line$"):
        parse_object(b" \r")


def test_what_is_written_is_read_again() -> None:
    value = {"b": LONG, "a": ["\u9762", 1.5, None]}
    assert json.loads(to_json(value)) == value
    assert to_json(value, sort_keys=True) == to_json(dict(reversed(value.items())), sort_keys=True)
    deep: Any = 1
    for _ in range(MOST_LEVELS):
        deep = [deep]
    assert parse_value(to_json(deep)) == deep
