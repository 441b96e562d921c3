"""Sharded tensors written and read by one process; megatron-core's own strategy is the oracle of the format."""

from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_redone.checkpoint.storage import load_sharded, save_sharded
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import start_context
from tests.helpers.ranks import run_on_ranks


def _state(values: torch.Tensor) -> dict[str, Any]:
    from megatron.core.dist_checkpointing import ShardedTensor

    return {"layer": {"weight": ShardedTensor.from_rank_offsets("weight", values)}, "step": 3}


def round_trips(folder: Path) -> list[bool]:
    """Ours read by ours and by megatron-core, and a damaged one."""
    from megatron.core import dist_checkpointing

    start_context(ParallelConfig(), Device.cpu)
    values = torch.arange(12.0).view(4, 3)
    folder.mkdir()
    save_sharded(_state(values), folder)
    loaded = [
        load_sharded(_state(torch.zeros(4, 3)), folder),
        dist_checkpointing.load(_state(torch.zeros(4, 3)), str(folder)),
    ]
    return [torch.equal(state["layer"]["weight"], values) and state["step"] == 3 for state in loaded]  # type: ignore[index]


def refusals(folder: Path) -> list[str]:
    from megatron_redone.errors import UserError

    start_context(ParallelConfig(), Device.cpu)
    folder.mkdir()
    save_sharded(_state(torch.ones(4, 3)), folder)
    messages = []
    (folder / "metadata.json").rename(folder / "moved")
    for shape in ((4, 3), (4, 5)):
        try:
            load_sharded(_state(torch.zeros(shape)), folder)
        except UserError as error:
            messages.append(str(error))
        if (folder / "moved").exists():
            (folder / "moved").rename(folder / "metadata.json")
    return messages


@pytest.mark.distributed
def test_what_is_written_is_read_back_by_us_and_by_megatron_core(tmp_path: Path) -> None:
    assert run_on_ranks(1, round_trips, tmp_path / "checkpoint") == [[True, True]]


@pytest.mark.distributed
def test_a_damaged_one_and_another_shape_are_one_line(tmp_path: Path) -> None:
    [[missing, shape]] = run_on_ranks(1, refusals, tmp_path / "checkpoint")
    assert "metadata.json: missing or damaged" in missing
    assert "could not be read" in shape and "\n" not in shape
