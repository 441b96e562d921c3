"""Shards as they are written; safetensors and transformers read them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_redone.conversion.hf_writer import PlannedTensor, ShardWriter, assign_to_files, write_index

TENSORS = {
    "matrix": torch.randn(5, 3),
    "bf16": torch.randn(4, 2).bfloat16(),
    "half": torch.randn(7).half(),
    "vector": torch.arange(3, dtype=torch.int64),
    "empty": torch.zeros(0, 4),
}


def planned(tensors: dict[str, torch.Tensor]) -> list[PlannedTensor]:
    return [PlannedTensor(name, tuple(value.shape), value.dtype) for name, value in tensors.items()]


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_blocks_of_rows_become_the_file_that_safetensors_reads(tmp_path: Path, rows: int) -> None:
    blocks = (block for tensor in TENSORS.values() if len(tensor) for block in tensor.split(rows))
    ShardWriter(tmp_path / "x.safetensors", planned(TENSORS)).write(blocks)
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype is value.dtype and torch.equal(found[name], value)


def test_blocks_that_are_no_contiguous_rows_are_copied(tmp_path: Path) -> None:
    value = torch.randn(4, 6)
    ShardWriter(tmp_path / "x", [PlannedTensor("t", (6, 4), torch.float32)]).write(iter([value.t()]))
    assert torch.equal(load_file(tmp_path / "x")["t"], value.t())


@pytest.mark.parametrize("length", range(1, 9))
def test_the_numbers_begin_where_safetensors_has_them(tmp_path: Path, length: int) -> None:
    """Readers that map the file need numbers at a multiple of their size."""
    tensors = {"x" * length: torch.ones(3)}
    ShardWriter(tmp_path / "x", planned(tensors)).write(iter(tensors.values()))
    header = int.from_bytes((tmp_path / "x").read_bytes()[:8], "little")
    save_file(tensors, tmp_path / "theirs")
    theirs = int.from_bytes((tmp_path / "theirs").read_bytes()[:8], "little")
    assert header % 8 == theirs % 8 == 0


def test_fewer_rows_than_planned_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="other rows"):
        ShardWriter(tmp_path / "x", planned({"a": torch.ones(3, 2)})).write(iter([torch.ones(2, 2)]))


@pytest.mark.parametrize(
    ("sizes", "limit", "files"),
    [
        ([4, 4, 4], 100, [[0, 1, 2]]),
        ([4, 4, 4], 8, [[0, 1], [2]]),
        ([4, 4, 4], 7, [[0], [1], [2]]),
        ([2, 20, 2, 2], 8, [[0], [1], [2, 3]]),  # one alone may exceed the limit
    ],
)
def test_tensors_go_to_files_in_order(sizes: list[int], limit: int, files: list[list[int]]) -> None:
    tensors = [PlannedTensor(f"t{number}", (size,), torch.uint8) for number, size in enumerate(sizes)]
    found = assign_to_files(tensors, limit)
    assert list(found.values()) == [[tensors[number] for number in file] for file in files]
    count = len(files)
    names = [f"model-{n + 1:05d}-of-{count:05d}.safetensors" for n in range(count)]
    assert list(found) == (["model.safetensors"] if count == 1 else names)


def test_the_index_says_which_file_holds_a_tensor(tmp_path: Path) -> None:
    tensors = planned({"b": torch.ones(4), "a": torch.ones(2, dtype=torch.bfloat16)})
    write_index(tmp_path, {"one": tensors})
    assert not list(tmp_path.iterdir())
    write_index(tmp_path, {"one": tensors[:1], "two": tensors[1:]})
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index == {"metadata": {"total_size": 20}, "weight_map": {"a": "two", "b": "one"}}
