"""Records out of every kind of input file, cut anywhere."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from megatron_redone.errors import UserError
from megatron_redone.formats import jsonl
from megatron_redone.formats.input_records import InvalidRecord
from megatron_redone.formats.inputs import FileRange, cut_file, expand_inputs
from megatron_redone.formats.json_values import NOT_FINITE
from megatron_redone.formats.reader import read_records

BOM = b"\xef\xbb\xbf"
TEXTS = [f"post {i} 你好\u2028 \r {'x' * (i % 50)}" for i in range(500)]
LINES = b"".join(
    json.dumps({"id": i, "text": t}, ensure_ascii=i % 2 == 0).encode() + b"\n" for i, t in enumerate(TEXTS)
)


def read(pieces: list[FileRange]) -> tuple[list[str], list[InvalidRecord], int]:
    batches = [batch for piece in pieces for batch in read_records(piece, "text")]
    texts = [text for batch in batches for text in batch.texts]
    return texts, [r for batch in batches for r in batch.invalid], sum(batch.bytes for batch in batches)


def whole(path: Path) -> list[FileRange]:
    return [FileRange(file) for file in expand_inputs([str(path)])]


def write_all(folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"a.{name}" for name in ("jsonl", "jsonl.gz", "jsonl.zst", "parquet")}
    paths["jsonl"].write_bytes(LINES)
    paths["jsonl.gz"].write_bytes(gzip.compress(LINES[:5000]) + gzip.compress(LINES[5000:]))
    zstd = zstandard.ZstdCompressor()
    paths["jsonl.zst"].write_bytes(zstd.compress(LINES[:5000]) + zstd.compress(LINES[5000:]))
    pq.write_table(pa.table({"text": TEXTS, "id": range(len(TEXTS))}), paths["parquet"], row_group_size=64)
    return paths


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
@pytest.mark.parametrize("block", [100, 4 << 20])
def test_every_kind_gives_the_same_texts(
    tmp_path: Path, kind: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "_BLOCK", block)
    path = write_all(tmp_path)[kind]
    texts, invalid, size = read(whole(path))
    assert texts == TEXTS and not invalid
    assert size == pytest.approx(path.stat().st_size, abs=len(TEXTS))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", gzip.compress(LINES)[:-100], "truncated"),
        ("a.jsonl.gz", b"no gzip at all", "cannot be read"),
        ("a.jsonl.zst", b"no zstd at all", "damaged zstd data"),
        ("a.jsonl.zst", zstandard.compress(LINES)[:-5], "truncated"),
        ("a.parquet", b"PAR1 nothing", "not a readable Parquet file"),
    ],
)
def test_damaged_files_stop_with_their_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: .*{message}"):
        read(whole(tmp_path / name))


def test_every_bad_line_is_told_with_number_and_reason(tmp_path: Path) -> None:
    bad = [
        (b'{"text": "x"', "malformed JSON"),
        (b'{"text": "a"} {"text": "b"}', "malformed JSON"),
        (b'{"text": "\xff\xfe"}', "invalid UTF-8"),
        (b'{"text": "\\ud800"}', "half a surrogate pair, which is no character"),
        (b'{"body": "x"}', "no key 'text'"),
        (b'{"text": ""}', "empty text"),
        (b'{"text": " \\n\\t"}', "empty text"),
        (b'{"text": null}', "no text"),
        (b'{"text": "x", "n": NaN}', NOT_FINITE),
        (b'{"text": "x", "n": ' + b"[" * 300 + b"]" * 300 + b"}", "nested deeper than 200 levels"),
        (b'{"text": 5}', "'text' is a number, not a string"),
        (b'{"text": ["x"]}', "'text' is a array, not a string"),
        (b'["text"]', "a JSON array, not an object"),
        (b'"text"', "a JSON string, not an object"),
        (b"", "empty line"),
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes(BOM + b"".join(b'{"text": "good"}\r\n' + line + b"\n" for line, _ in bad))
    texts, invalid, _ = read(whole(path))
    assert texts == ["good"] * len(bad)
    assert [(r.place, r.reason) for r in invalid] == [(2 * i + 2, reason) for i, (_, reason) in enumerate(bad)]
    assert invalid[2].excerpt == '{"text": "\ufffd\ufffd"}'


@pytest.mark.parametrize("cuts", [[], [100], [20, 40, 60, 5000]])
def test_an_array_gives_the_texts_of_its_elements(tmp_path: Path, cuts: list[int]) -> None:
    elements = [json.dumps({"text": text}) for text in TEXTS]
    elements[7:7] = ['{"text": 3}', '{"text": "a" "b"}', '{"text": "\\ud83d"}', "null"]
    path = tmp_path / "a.json"
    path.write_bytes(BOM + f"[{', '.join(elements)}\n]\n".encode())
    (file,) = expand_inputs([str(path)])
    texts, invalid, size = read(cut_file(file, cuts))
    assert texts == TEXTS and size == file.size
    assert [(r.place, r.reason) for r in invalid] == [
        (1, "'text' is a number, not a string"),
        (1, "malformed JSON"),
        (1, "half a surrogate pair, which is no character"),
        (1, "a JSON null, not an object"),
    ]


def test_a_byte_order_mark_stands_before_any_record(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([BOM + b'{"text": "a"}', b'{"text": "b"}', BOM + b'{"text": "c"}']))
    assert read(whole(tmp_path / "a.jsonl"))[:2] == (["a", "b", "c"], [])


def test_one_record_that_is_nested_too_deeply_is_found_among_good_ones(tmp_path: Path) -> None:
    deep = b'{"text": "x", "n": ' + b"[" * 250 + b"]" * 250 + b"}"
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([b'{"text": "a"}', deep, b'{"text": "[[["}']))
    texts, invalid, _ = read(whole(tmp_path / "a.jsonl"))
    assert texts == ["a", "[[["]
    assert [(record.place, record.reason) for record in invalid] == [(2, "nested deeper than 200 levels")]
