"""Lines, cut anywhere, and lines that are too long."""

import itertools
import json
import random
from pathlib import Path

import pytest

from megatron_redone.formats import jsonl
from megatron_redone.formats.inputs import FileRange, expand_inputs
from megatron_redone.formats.jsonl import read_lines

TEXTS = [f"post {i} 你好\u2028 \r {'x' * (i % 50)}" for i in range(500)]
LINES = b"".join(json.dumps({"text": t}, ensure_ascii=i % 2 == 0).encode() + b"\n" for i, t in enumerate(TEXTS))


def read(pieces: list[FileRange], most_bytes: int = 1 << 20) -> tuple[list[bytes], int]:
    found = [part for piece in pieces for part in read_lines(piece, most_bytes)]
    return [line for lines, _ in found for line in lines], sum(size for _, size in found)


def test_ranges_meet_without_gap_or_overlap(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES.rstrip(b"\n"))  # the last line has no end
    file = expand_inputs([str(path)])[0]
    rng = random.Random(1)
    for _ in range(50):
        cuts = sorted({0, file.size, *(rng.randrange(file.size) for _ in range(rng.randint(1, 30)))})
        pieces = [FileRange(file, a, b) for a, b in itertools.pairwise(cuts)]
        lines, size = read(pieces)
        assert lines == LINES.splitlines() and size == file.size


@pytest.mark.parametrize("block", [1, 7, 1000, 4 << 20])
def test_a_line_that_is_too_long_is_cut_and_the_next_one_is_whole(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "_BLOCK", block)
    monkeypatch.setattr(jsonl, "_LINE_BLOCK", max(1, block // 2))
    lines = [b"a" * 40, b"b" * 41, b"", b"c" * 3000, b"d", b"e" * 900]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    file = expand_inputs([str(path)])[0]
    for cuts in ([], [50], [100, 2000, 3100], [*range(90, 3200, 100)]):
        pieces = [FileRange(file, a, b) for a, b in itertools.pairwise([0, *cuts, file.size])]
        found, size = read(pieces, most_bytes=40)
        assert [line[:41] for line in found] == [line[:41] for line in lines] and size == file.size
        if block <= 40:
            assert max(map(len, found)) <= 2 * 41 + block
