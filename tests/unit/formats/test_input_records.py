"""The list of invalid records: one JSON line each, there whole or not at all."""

import json
from pathlib import Path

import pytest

from megatron_redone.formats.input_records import (
    InvalidRecord,
    InvalidRecordError,
    InvalidRecordWriter,
    invalid_path,
    write_invalid,
)

RECORDS = [
    InvalidRecord.of("a.jsonl", 3, InvalidRecordError("empty text"), b'{"text": ""}\nmore'),
    InvalidRecord.of("b.parquet", 1, "no text", "好\u2028 \r"),
]


def test_every_record_is_one_line_of_json(tmp_path: Path) -> None:
    path = invalid_path(tmp_path / "posts.v1")
    assert path.name == "posts.v1.invalid.jsonl"
    assert write_invalid(path, RECORDS)
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    assert [json.loads(line) for line in lines] == [
        {"file": "a.jsonl", "place": 3, "reason": "empty text", "excerpt": '{"text": ""}\nmore'},
        {"file": "b.parquet", "place": 1, "reason": "no text", "excerpt": "好\u2028 \r"},
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_excerpts_are_short_and_text_whatever_the_bytes_are() -> None:
    for record in (b"\xff\xfe" * 5000, "好" * 5000):
        excerpt = InvalidRecord.of("a", 1, "x", record).excerpt
        assert isinstance(excerpt, str) and len(excerpt) == 500
        json.loads(InvalidRecord.of("a", 1, "x", record).as_line().encode("utf-8"))


def test_without_records_the_list_of_an_earlier_run_goes(tmp_path: Path) -> None:
    path = invalid_path(tmp_path / "a")
    write_invalid(path, RECORDS)
    assert not write_invalid(path, [])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_list_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = invalid_path(tmp_path / "a")
    write_invalid(path, RECORDS)
    before = path.read_bytes()

    def interrupted():
        yield RECORDS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_invalid(path, interrupted())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    writer = InvalidRecordWriter(path)
    assert not writer.is_finished
    writer.finish()
    assert writer.is_finished
