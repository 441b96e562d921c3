"""Shards become one dataset in the order of the input, and invalid records are named by their line in the file."""

import json
from pathlib import Path

import numpy as np
from megatron.core.datasets.indexed_dataset import IndexedDataset as MegatronDataset

from megatron_redone.formats.indexed import IndexedDatasetWriter
from megatron_redone.formats.inputs import FileRange, InputFile
from megatron_redone.tokenization.merge import merge_invalid, merge_shards
from megatron_redone.tokenization.shard import ShardFiles, ShardResult
from megatron_redone.tokenization.shard_plan import Shard

A, B = InputFile("a.jsonl", 100, "1"), InputFile("b.jsonl", 50, "1")
SHARDS = [
    Shard(0, [FileRange(A, 0, 60)]),
    Shard(1, [FileRange(A, 60, 100), FileRange(B, 0, 30)]),
    Shard(2, [FileRange(B, 30, 50)]),
]


def test_documents_follow_each_other(tmp_path: Path) -> None:
    documents = [[[1, 2], []], [], [[3], [4, 5, 6]]]
    files = [ShardFiles.of(tmp_path, number) for number in range(3)]
    for names, own in zip(files, documents, strict=True):
        with IndexedDatasetWriter(names.prefix, np.dtype(np.uint16)) as writer:
            for document in own:
                writer.add(np.array(document, np.uint16), np.array([len(document)]))
            writer.finish()
    merge_shards(str(tmp_path / "whole"), np.dtype(np.uint16), files, shuffle_seed=None)
    found = MegatronDataset(str(tmp_path / "whole"))
    assert [found[number].tolist() for number in range(len(found))] == [[1, 2], [], [3], [4, 5, 6]]


def write_invalid(files: ShardFiles, records: list[tuple[int, str, int, str]]) -> None:
    """As a worker does: places count from the beginning of a piece."""
    lines = [
        json.dumps({"piece": piece, "file": file, "place": place, "reason": reason, "excerpt": "x"})
        for piece, file, place, reason in records
    ]
    files.invalid.write_text("".join(f"{line}\n" for line in lines))


def test_places_count_over_the_whole_file_and_reasons_are_counted(tmp_path: Path) -> None:
    files = [ShardFiles.of(tmp_path, number) for number in range(3)]
    results = [ShardResult(0, [7]), ShardResult(1, [5, 4]), ShardResult(2, [3])]
    write_invalid(files[0], [(0, A.path, 2, "empty")])
    write_invalid(files[1], [(0, A.path, 5, "no text"), (1, B.path, 1, "empty")])
    write_invalid(files[2], [(0, B.path, 3, "empty")])
    path = tmp_path / "out.invalid.jsonl"
    assert merge_invalid(path, SHARDS, results, files) == {"empty": 3, "no text": 1}
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["file"], record["place"]) for record in found] == [
        ("a.jsonl", 2), ("a.jsonl", 7 + 5), ("b.jsonl", 1), ("b.jsonl", 4 + 3),
    ]  # fmt: skip
    assert all("piece" not in record for record in found)


def test_an_old_list_goes_where_nothing_is_invalid(tmp_path: Path) -> None:
    files = [ShardFiles.of(tmp_path, 0)]
    write_invalid(files[0], [])
    path = tmp_path / "out.invalid.jsonl"
    path.write_text("of a run before\n")
    assert merge_invalid(path, SHARDS[:1], [ShardResult(0, [7])], files) == {} and not path.exists()
