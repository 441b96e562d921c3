"""Lines of JSON, cut anywhere, and what is said of a line that holds no text."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError
from megatron_redone.formats.inputs import FileRange, expand_inputs
from megatron_redone.formats.jsonl import json_type, parse_object, read_json_lines

TEXTS = [f"post {i} 你好\u2028 \r {'x' * (i % 50)}" for i in range(500)]
LINES = b"".join(json.dumps({"text": t}, ensure_ascii=i % 2 == 0).encode() + b"\n" for i, t in enumerate(TEXTS))


def read(pieces: list[FileRange]) -> tuple[list[str], list[InvalidRecord], int]:
    batches = [batch for piece in pieces for batch in read_json_lines(piece, "text")]
    texts = [text for batch in batches for text in batch.texts]
    return texts, [r for batch in batches for r in batch.invalid], sum(batch.bytes for batch in batches)


def whole(path: Path) -> list[FileRange]:
    return [FileRange(file) for file in expand_inputs([str(path)])]


def test_ranges_meet_without_gap_or_overlap(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES.rstrip(b"\n"))  # the last line has no end
    file = expand_inputs([str(path)])[0]
    rng = random.Random(1)
    for _ in range(50):
        cuts = sorted({0, file.size, *(rng.randrange(file.size) for _ in range(rng.randint(1, 30)))})
        pieces = [FileRange(file, a, b) for a, b in itertools.pairwise(cuts)]
        texts, invalid, size = read(pieces)
        assert texts == TEXTS and not invalid and size == file.size


def test_every_bad_line_is_told_with_number_and_reason(tmp_path: Path) -> None:
    bad = [
        (b'{"text": "x"', "malformed JSON"),
        (b'{"text": "a"} {"text": "b"}', "malformed JSON"),
        (b'{"text": "\xff\xfe"}', "invalid UTF-8"),
        (b'{"text": "\\ud800"}', "malformed JSON"),
        (b'{"body": "x"}', "no key 'text'"),
        (b'{"text": ""}', "empty text"),
        (b'{"text": " \\n\\t"}', "empty text"),
        (b'{"text": null}', "'text' is a null, not a string"),
        (b'{"text": 5}', "'text' is a number, not a string"),
        (b'{"text": ["x"]}', "'text' is a array, not a string"),
        (b'["text"]', "a JSON array, not an object"),
        (b'"text"', "a JSON string, not an object"),
        (b"", "empty line"),
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(b'{"text": "good"}\r\n' + line + b"\n" for line, _ in bad))
    texts, invalid, _ = read(whole(path))
    assert texts == ["good"] * len(bad)
    assert [(r.place, r.reason) for r in invalid] == [(2 * i + 2, reason) for i, (_, reason) in enumerate(bad)]
    assert invalid[2].excerpt == '{"text": "\ufffd\ufffd"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [("null", "null"), ("true", "boolean"), ("1", "number"), ("1.5", "number"), ('"a"', "string"), ("[]", "array"),
     ("{}", "object")],
)  # fmt: skip
def test_a_line_is_an_object_or_says_what_it_is(text: str, expected: str) -> None:
    value: Any = json.loads(text)
    assert json_type(value) == expected
    if expected == "object":
        assert parse_object(text.encode()) == value
    else:
        with pytest.raises(InvalidRecordError, match=f"^a JSON {expected}, not an object$"):
            parse_object(text.encode())
