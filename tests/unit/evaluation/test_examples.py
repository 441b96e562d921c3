"""Evaluation inputs: what is taken, drawn, and set aside with its reason."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from megatron_redone.errors import UserError
from megatron_redone.evaluation.examples import read_conversations, read_pairs, read_texts

USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def _file(folder: Path, *lines: Any) -> str:
    file = folder / "input.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(file)


def test_texts_are_taken_and_invalid_records_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    path = _file(
        tmp_path, {"text": "one two"}, "{", {"body": "x"}, {"text": 3}, {"text": " "}, "[1]", "", {"text": "b"}
    )
    read = read_texts(path, "text", 3, 10, 0)
    assert [(example.record, example.text) for example in read.examples] == [(1, "one"), (8, "b")]
    assert {item.place: item.reason for item in read.invalid} == {
        2: "malformed JSON",
        3: "no key 'text'",
        4: "'text' is not a string",
        5: "empty text",
        6: "a JSON array, not an object",
        7: "empty line",
    }
    assert read.records == 8 and read.invalid[0].excerpt == "{"


def _gzip(lines: bytes) -> bytes:
    return gzip.compress(lines)


def _zstd(lines: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(lines)


def _array(lines: bytes) -> bytes:
    return b"[" + lines.strip().replace(b"\n", b",\n") + b"]"


@pytest.mark.parametrize(("name", "encode"), [("a.jsonl.gz", _gzip), ("a.jsonl.zst", _zstd), ("a.json", _array)])
def test_every_input_file_gives_what_plain_lines_give(
    name: str, encode: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    plain = _file(tmp_path, {"text": "one two"}, {"body": "x"}, {"text": 3}, {"text": "面很好吃"})
    (tmp_path / name).write_bytes(encode(Path(plain).read_bytes()))
    expected, found = (read_texts(path, "text", None, 10, 0) for path in (plain, str(tmp_path / name)))
    assert found.examples == expected.examples and len(found.examples) == 2
    assert [(item.place, item.reason) for item in found.invalid] == [
        (item.place, item.reason) for item in expected.invalid
    ]


def test_rows_of_parquet_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None, "b"]}), tmp_path / "a.parquet")
    found = read_texts(str(tmp_path / "a.parquet"), "text", None, 10, 0)
    assert [(example.record, example.text) for example in found.examples] == [(1, "a"), (3, "b")]


def test_a_draw_is_repeatable_and_keeps_the_order(tmp_path: Path) -> None:
    path = _file(tmp_path, *({"text": str(i)} for i in range(100)))
    one, again, other = (read_texts(path, "text", None, 10, seed).examples for seed in (1, 1, 2))
    assert one == again and one != other
    records = [example.record for example in one]
    assert records == sorted(records) and len(set(records)) == 10


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "p", "chosen": "a"}, "no key 'rejected'"),
        (
            {"prompt": "p", "chosen": [ANSWER], "rejected": "b"},
            "prompt, chosen and rejected are not all strings or all",
        ),
        ({"prompt": "p", "chosen": "a", "rejected": "a"}, "chosen and rejected are the same"),
        ({"prompt": "p", "chosen": "a", "rejected": " "}, "an empty response"),
        ({"prompt": [USER], "chosen": [], "rejected": [ANSWER]}, "an empty list of messages"),
        ({"prompt": [USER], "chosen": [{"content": "x"}], "rejected": [ANSWER]}, "a message without a role"),
    ],
)
def test_invalid_pairs(record: Any, reason: str, tmp_path: Path) -> None:
    good = [{"prompt": "p", "chosen": "a", "rejected": "b"},
            {"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "no"}]}]  # fmt: skip
    read = read_pairs(_file(tmp_path, record, *good), 10, 0)
    assert [example.record for example in read.examples] == [2, 3]
    assert read.invalid[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (None, "no list under the key 'messages'"),
        ([USER], "the last message is not an assistant's answer to others"),
        ([ANSWER], "the last message is not an assistant's answer to others"),
        ([USER, {"role": "assistant", "content": None}], "a message whose content is not a string"),
        ([USER, {"role": "assistant", "content": ""}], "an empty answer"),
    ],
)
def test_invalid_conversations(messages: Any, reason: str, tmp_path: Path) -> None:
    read = read_conversations(_file(tmp_path, {"messages": messages}, {"messages": [USER, ANSWER]}), 10, 0)
    assert [(e.record, e.prompt, e.expected) for e in read.examples] == [(2, [USER], "hello")]
    assert read.invalid[0].reason == reason


def test_a_source_without_a_good_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"input.jsonl: not one record that can be used; the first .*: no key 'text'"):
        read_texts(_file(tmp_path, {"body": "x"}), "text", None, 10, 0)
    with pytest.raises(UserError, match="no such file"):
        read_pairs(str(tmp_path / "none.jsonl"), 10, 0)
    (tmp_path / "damaged.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "p"}')[:-9])
    with pytest.raises(UserError, match=r"damaged.jsonl.gz: cannot be read, is it truncated"):
        read_pairs(str(tmp_path / "damaged.jsonl.gz"), 10, 0)
