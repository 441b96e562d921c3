"""Reads and writes sharded tensors in megatron-core's distributed checkpoint format.

The stock strategy hands its writing to child processes. On CPU they compete with the ranks for the
cores, and the parent waits for ever for one that dies. Ours writes in the rank itself, with torch's own
writer, in the same format: either reads what the other wrote.
"""

from pathlib import Path
from typing import Any

from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.mapping import ShardedStateDict
from megatron.core.dist_checkpointing.strategies.base import SaveShardedStrategy
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from megatron.core.dist_checkpointing.utils import force_all_tensors_to_non_fp8
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

from megatron_redone.checkpoint.storage_check import check_storage
from megatron_redone.errors import UserError


class _SaveInThisProcess(SaveShardedStrategy):
    """megatron-core's `TorchDistSaveShardedStrategy` with torch's synchronous writer."""

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    @property
    def can_handle_sharded_objects(self) -> bool:  # type: ignore[override]
        return True

    def save(self, sharded_state_dict: ShardedStateDict, checkpoint_dir: str | Path) -> None:
        flat, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict, keep_only_main_replica=True)
        save(
            mcore_to_pyt_state_dict(flat, is_loading=False),
            storage_writer=FileSystemWriter(checkpoint_dir),
            planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
        )


def save_sharded(state: dict[str, Any], path: Path) -> None:
    """Writes this rank's part of a sharded state; called by all ranks, with one empty folder that all see.

    Raises:
        UserError: writing failed on some rank; raised on all of them.
    """
    force_all_tensors_to_non_fp8(state)  # as it does itself when it loads: another layout may hold them in bf16
    try:
        dist_checkpointing.save(state, str(path), _SaveInThisProcess())
    except CheckpointException as error:
        raise UserError(f"{path}: the checkpoint could not be written ({_first_cause(error)})") from None


def load_sharded(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Reads this rank's part of a sharded state, whatever the layout that wrote it; called by all ranks.

    Raises:
        UserError: the checkpoint is damaged, or lacks a tensor or has another shape of one; on all ranks.
    """
    try:
        check_storage(path)
        loaded = dist_checkpointing.load(state, str(path))
    except CheckpointException as error:
        raise UserError(f"{path}: the checkpoint could not be read ({_first_cause(error)})") from None
    except CheckpointingException as error:
        raise UserError(f"{path}: the checkpoint could not be read ({' '.join(str(error).split())[:300]})") from None
    assert isinstance(loaded, dict)
    return loaded


def _first_cause(error: CheckpointException) -> str:
    cause = next(iter(error.failures.values()))[0]
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
