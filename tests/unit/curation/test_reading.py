"""However the input is cut into tasks, every record is read once and in order."""

import random
from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from megatron_redone.config.curate import SourceConfig
from megatron_redone.curation.reading import plan_shards
from megatron_redone.formats.inputs import FileRange, expand_inputs
from megatron_redone.formats.raw_records import read_raw


def lines_of(piece: FileRange) -> list[bytes]:
    return [record.json for batch in read_raw(piece) for record in batch.records]


@pytest.mark.parametrize("tasks", [1, 2, 3, 5, 16, 50])
def test_every_line_is_read_once(tmp_path: Path, tasks: int) -> None:
    rng = random.Random(tasks)
    lines = [b'{"text": "' + b"x" * rng.randint(0, 200) + b'"}' for _ in range(300)]
    for name, part in {"a.jsonl": lines[:180], "b.jsonl": lines[180:190], "c.json": lines[190:]}.items():
        (tmp_path / name).write_bytes(b"\n".join(part) + b"\n" * (name != "b.jsonl"))
    (tmp_path / "empty.jsonl").write_bytes(b"")
    source = SourceConfig(name="posts", input=[str(tmp_path)])
    shards = plan_shards([(source, file) for file in expand_inputs(source.input)], tasks)
    assert len(shards) == tasks
    sizes = [sum(piece.size for _, piece in shard.pieces) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    read = [line for shard in shards for _, piece in shard.pieces for line in lines_of(piece)]
    assert read == lines


def test_what_cannot_be_cut_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n' * 40)
    (tmp_path / "b.json").write_text("[" + ", ".join(f'{{"text": "{i}"}}' for i in range(40)) + "]")
    (tmp_path / "c.jsonl.gz").write_bytes(b"y" * 500)
    source = SourceConfig(name="posts", input=[str(tmp_path)])
    shards = plan_shards([(source, file) for file in expand_inputs(source.input)], 7)
    pieces = [piece for shard in shards for _, piece in shard.pieces]
    assert sum(piece.size for piece in pieces) == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert [piece.size for piece in pieces if piece.file.path.endswith(".gz")] == [500]
    array = [line for piece in pieces if piece.file.path.endswith(".json") for line in lines_of(piece)]
    assert array == [f'{{"text": "{i}"}}'.encode() for i in range(40)]
