"""Shards cover the input once and in order, whatever their size."""

import pytest

from megatron_redone.formats.inputs import InputFile
from megatron_redone.tokenization.shard_plan import plan_shards

FILES = [
    InputFile("a.jsonl", 1000, "1"),
    InputFile("b.jsonl.gz", 700, "1"),
    InputFile("c.jsonl", 3, "1"),
    InputFile("d.parquet", 90, "1"),
    InputFile("e.jsonl", 0, "1"),
    InputFile("f.jsonl", 513, "1"),
]


@pytest.mark.parametrize("shard_bytes", [1, 64, 100, 512, 5000])
def test_every_byte_is_in_one_shard_and_in_order(shard_bytes: int) -> None:
    shards = plan_shards(FILES, shard_bytes)
    assert [shard.number for shard in shards] == list(range(len(shards)))
    pieces = [piece for shard in shards for piece in shard.pieces]
    assert sum(shard.size for shard in shards) == sum(file.size for file in FILES)
    assert [piece.file for piece in pieces] == sorted((piece.file for piece in pieces), key=lambda file: file.path)
    for file in FILES:
        own = [piece for piece in pieces if piece.file == file]
        ends = [file.size if piece.end is None else piece.end for piece in own]
        assert [piece.start for piece in own] == [0, *ends[:-1]] and ends[-1] == file.size
        assert len(own) == 1 or file.is_splittable


def test_shards_are_about_as_large_as_asked_and_never_too_many() -> None:
    big = InputFile("big.jsonl", 10_000, "1")
    shards = plan_shards([big], 1000)
    assert len(shards) == 10 and {shard.size for shard in shards} == {1000}
    assert len(plan_shards([InputFile("big.jsonl", 10**9, "1")], 1000)) <= 768
    small = [InputFile(f"{number:04}.jsonl", 10, "1") for number in range(100)]
    assert [len(shard.pieces) for shard in plan_shards(small, 250)] == [25, 25, 25, 25]
    assert plan_shards([], 1000) == []
