"""From what a user names to files."""

import json
import os
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.inputs import FileRange, InputFile, cut_file, expand_inputs
from megatron_redone.formats.reader import read_records

TEXTS = [f"post {i} 你好\u2028 \r {'x' * (i % 50)}" for i in range(500)]
LINES = b"".join(json.dumps({"text": t}, ensure_ascii=i % 2 == 0).encode() + b"\n" for i, t in enumerate(TEXTS))


def test_urls_are_read_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://posts/a.jsonl", "wb") as stream:
        stream.write(LINES)
    files = expand_inputs(["memory://posts"])
    assert [file.size for file in files] == [len(LINES)]
    half = FileRange(files[0], 0, 7777), FileRange(files[0], 7777, len(LINES))
    texts = [text for piece in half for batch in read_records(piece, "text") for text in batch.texts]
    assert texts == TEXTS


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


def test_a_file_is_another_when_it_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}")
    before = expand_inputs([str(path)])
    assert before == expand_inputs([str(path)])
    os.utime(path, ns=(0, 1))
    assert before != expand_inputs([str(path)])


@pytest.mark.parametrize(("name", "pieces"), [("a.jsonl", 3), ("a.jsonl.gz", 1), ("a.parquet", 1)])
def test_pieces_cover_a_file_and_only_plain_lines_are_cut(name: str, pieces: int) -> None:
    cut = cut_file(InputFile(name, 100, ""), [10, 60])
    assert len(cut) == pieces
    assert sum(piece.size for piece in cut) == 100 and cut[0].start == 0
    assert [piece.end for piece in cut[:-1]] == [piece.start for piece in cut[1:]]
