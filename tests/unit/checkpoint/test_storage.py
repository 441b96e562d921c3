"""What one process writes, it reads back; megatron-core's loader and torch's own tool are the oracles of the format."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from megatron_redone.checkpoint import chunk_reader, chunk_writer
from megatron_redone.checkpoint.chunk_writer import Record
from megatron_redone.checkpoint.metadata_file import write_metadata
from megatron_redone.checkpoint.rank_part import RankState
from megatron_redone.checkpoint.rectangles import Rectangle
from megatron_redone.checkpoint.storage import StoredState
from megatron_redone.checkpoint.values import Values, a_range, whole
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import start_context
from megatron_redone.errors import UserError
from tests.helpers.ranks import run_on_ranks
from tests.helpers.sharded_saves import save_sharded

VALUES = torch.arange(60.0).view(12, 5)
NARROW = torch.arange(6).bfloat16()


def place(key: str, *sizes: int, **more: Any) -> tuple[Rectangle, ...]:
    return (Rectangle(key=key, full_shape=sizes, offsets=(0,) * len(sizes), sizes=sizes, **more),)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint in records of two rows, one tensor as two ranges that end within a row."""
    monkeypatch.setattr(chunk_writer, "BLOCK_BYTES", 40)
    parts, flat = place("weight", 12, 5), VALUES.flatten()
    values = [a_range(parts, flat[:13], 0), a_range(parts, flat[13:], 13), whole(place("narrow", 6), NARROW)]
    objects = {"module._extra_state/shard_0_1": torch.ones(2), "none._extra_state/shard_0_1": None}
    save_sharded(RankState(values=values, objects=objects, common={"step": 3}), tmp_path)
    return tmp_path


def read(folder: Path, wanted: Values) -> torch.Tensor:
    with StoredState(folder) as stored:
        stored.fill([wanted])
    return wanted.tensor


def test_any_range_is_read_back(folder: Path) -> None:
    for first, last in ((0, 60), (7, 8), (3, 41), (55, 60)):
        wanted = a_range(place("weight", 12, 5), torch.zeros(last - first), first)
        assert torch.equal(read(folder, wanted), VALUES.flatten()[first:last])
    assert torch.equal(read(folder, whole(place("narrow", 6), torch.zeros(6))), NARROW.float())
    with StoredState(folder) as stored:
        assert stored.common == {"step": 3} and "weight" in stored and stored.dtype("narrow") is torch.bfloat16
        assert torch.equal(stored.read_object("module._extra_state/shard_0_1"), torch.ones(2))
        assert stored.read_object("none._extra_state/shard_0_1") is None


def test_records_larger_than_a_buffer_are_read_row_by_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_reader, "_WHOLE", 0)
    monkeypatch.setattr(chunk_reader, "_PIECE", 20)
    assert torch.equal(read(folder, a_range(place("weight", 12, 5), torch.zeros(38), 3)), VALUES.flatten()[3:41])


def test_rows_beyond_the_stored_ones_are_zero_where_they_are_padding(folder: Path) -> None:
    longer = read(folder, whole(place("weight", 14, 5, is_padded=True), torch.ones(14, 5)))
    assert torch.equal(longer[:12], VALUES) and not longer[12:].any()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (place("weight", 14, 5), "has the shape (12, 5), the model needs (14, 5)"),
        (place("weight", 12, 6, is_padded=True), "has the shape (12, 5)"),
        (place("other", 12, 5), "other is missing"),
        (place("none._extra_state/shard_0_1", 12, 5), "is missing"),
    ],
)
def test_another_model_is_one_line(folder: Path, parts: tuple[Rectangle, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(folder, whole(parts, torch.zeros(parts[0].sizes)))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_file_is_named(folder: Path) -> None:
    file = folder / "__0_0.distcp"
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], b""):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"__0_0\.distcp: missing, truncated or damaged"):
            read(folder, whole(place("weight", 12, 5), torch.zeros(12, 5)))


class Call:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def test_an_object_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_sharded(RankState(values=[], objects={"state": Call()}), tmp_path)
    with StoredState(tmp_path) as stored, pytest.raises(UserError, match=r"__0_0\.distcp: .*state"):
        stored.read_object("state")
    assert not (tmp_path / "ran").exists() and pickle.dumps(Call())


def test_a_disk_that_is_full_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And torch's writer does not end the process, as it would where what it writes to raises."""
    monkeypatch.setattr(chunk_writer, "open", lambda *_, **__: open("/dev/full", "wb", buffering=0), raising=False)
    with pytest.raises(UserError, match=r"could not be written \(no space is left on the disk; rank 0\)"):
        save_sharded(RankState(values=[whole(place("weight", 12, 5), VALUES)]), tmp_path)


def test_what_ranks_hold_must_make_up_every_tensor_once(tmp_path: Path) -> None:
    half = Record("weight", (0, 0), (6, 5), (12, 5), "float32", "__0_0.distcp", 0, 1, 0)
    with pytest.raises(AssertionError, match="the ranks hold 30 of 60 elements"):
        write_metadata(tmp_path, [half])


def test_torchs_own_tool_reads_it(folder: Path) -> None:
    dcp_to_torch_save(folder, folder / "all.pt")
    found = torch.load(folder / "all.pt", weights_only=False)
    assert torch.equal(found["weight"], VALUES) and torch.equal(found["narrow"], NARROW)


def megatron_reads(folder: Path) -> bool:
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing import ShardedTensor

    start_context(ParallelConfig(), Device.cpu)
    wanted = {"a": ShardedTensor.from_rank_offsets("weight", torch.zeros(12, 5)), "step": 0}
    found = dist_checkpointing.load(wanted, str(folder))
    return torch.equal(found["a"], VALUES) and found["step"] == 3  # type: ignore[index,call-overload]


@pytest.mark.distributed
def test_megatron_core_reads_it(folder: Path) -> None:
    assert run_on_ranks(1, megatron_reads, folder) == [True]
