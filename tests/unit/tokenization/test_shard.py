"""A finished shard is taken over only as it was written."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.formats.done_check import write_sealed
from megatron_redone.formats.file_record import record_files
from megatron_redone.formats.indexed import IndexedDatasetWriter
from megatron_redone.tokenization.shard import ShardFiles, ShardResult


@pytest.fixture
def shard(tmp_path: Path) -> ShardFiles:
    files = ShardFiles.of(tmp_path, 3)
    with IndexedDatasetWriter(files.prefix, np.uint16) as writer:
        writer.add(np.arange(100), np.array([60, 40]))
        writer.finish()
    files.invalid.write_text("")
    result = ShardResult(3, [2], documents=2, tokens=100, files=record_files(tmp_path, files.written()))
    write_sealed(files.done, dataclasses.asdict(result))
    return files


def test_a_whole_shard_is_taken_over(shard: ShardFiles) -> None:
    found = ShardResult.read(shard)
    assert found is not None and (found.records, found.documents, found.tokens) == ([2], 2, 100)
    assert sorted(found.files) == ["shard-00003.bin", "shard-00003.idx", "shard-00003.invalid.jsonl"]


@pytest.mark.parametrize("suffix", ["bin", "idx", "done.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "delete"])
def test_a_damaged_one_is_encoded_again(shard: ShardFiles, suffix: str, damage: str) -> None:
    path = Path(f"{shard.prefix}.{suffix}")
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"flip": flipped, "cut": content[:-3], "empty": b"", "delete": b""}[damage])
    if damage == "delete":
        path.unlink()
    assert ShardResult.read(shard) is None


def test_a_marker_of_an_earlier_version_does_not_count(shard: ShardFiles) -> None:
    shard.done.write_text(json.dumps({"number": 3, "records": [2], "documents": 2, "tokens": 100, "rejected": 0}))
    assert ShardResult.read(shard) is None
