"""Records out of every kind of input file, cut anywhere."""

import gzip
import itertools
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from megatron_redone.errors import UserError
from megatron_redone.formats import jsonl
from megatron_redone.formats.input_records import InvalidRecord
from megatron_redone.formats.inputs import FileRange, InputFile, expand_inputs
from megatron_redone.formats.reader import read_records

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


def test_urls_are_read_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://posts/a.jsonl", "wb") as stream:
        stream.write(LINES)
    files = expand_inputs(["memory://posts"])
    assert [file.size for file in files] == [len(LINES)]
    half = FileRange(files[0], 0, 7777), FileRange(files[0], 7777, len(LINES))
    assert read(list(half))[0] == TEXTS


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


def test_parquet_nulls_and_empties_are_invalid(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None, " ", "b"]}), tmp_path / "a.parquet")
    texts, invalid, _ = read(whole(tmp_path / "a.parquet"))
    assert texts == ["a", "b"] and [(r.place, r.reason) for r in invalid] == [(2, "no text"), (3, "empty text")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", gzip.compress(LINES)[:-100], "truncated"),
        ("a.jsonl.gz", b"no gzip at all", "cannot be read"),
        ("a.jsonl.zst", b"no zstd at all", "damaged zstd data"),
        ("a.parquet", b"PAR1 nothing", "not a readable Parquet file"),
    ],
)
def test_damaged_files_stop_with_their_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: .*{message}"):
        read(whole(tmp_path / name))


def test_parquet_columns_are_checked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [1]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="no column 'text'; it has body"):
        read(whole(tmp_path / "a.parquet"))
    with pytest.raises(UserError, match="holds int64, not strings"):
        read(whole(tmp_path / "b.parquet"))


def test_inputs_are_expanded_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", "sub/c.parquet", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = expand_inputs([str(tmp_path / "b.jsonl"), str(tmp_path), str(tmp_path / "**/*.parquet")])
    names = [Path(file.path).name for file in found]
    assert names == ["b.jsonl", "a.jsonl.gz", "b.jsonl", "c.parquet", "c.parquet"]
    assert "1 files with other endings are left out" in caplog.text
    for wrong in ("nothing", "notes.txt", "*.csv"):
        with pytest.raises(UserError, match=wrong.replace("*", r"\*")):
            expand_inputs([str(tmp_path / wrong)])
    assert isinstance(found[0], InputFile)
