"""Checkpoints as megatron-core alone saves and loads them: gathered over the data-parallel ranks.

An oracle for tests, and the other side of tools/benchmarks/checkpoints.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    TorchDistSaveShardedStrategy,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save


class _SaveInThisProcess(TorchDistSaveShardedStrategy):
    """megatron-core's own writes in child processes, which compete with the ranks for the cores of a CPU."""

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    def save(self, sharded_state_dict: Any, checkpoint_dir: Any, *_: Any) -> None:  # others are for its own children
        flat, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict, keep_only_main_replica=True)
        save(
            mcore_to_pyt_state_dict(flat, is_loading=False),
            storage_writer=FileSystemWriter(checkpoint_dir),
            planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
        )


def save_gathered(chunks: Sequence[GPTModel], optimizer: MegatronOptimizer, folder: Path) -> None:
    """Saves; called by all ranks, with an empty folder."""
    dist_checkpointing.save(_state(chunks, optimizer, False), str(folder), _SaveInThisProcess())


def load_gathered(chunks: Sequence[GPTModel], optimizer: MegatronOptimizer, folder: Path) -> None:
    """Loads on every rank, by megatron-core's own loader."""
    loaded: Any = dist_checkpointing.load(_state(chunks, optimizer, True), str(folder))
    for number, chunk in enumerate(chunks):
        chunk.load_state_dict(loaded[f"model{number}"])
    optimizer.load_state_dict(loaded["optimizer"])
    torch.distributed.barrier()


def _state(chunks: Sequence[GPTModel], optimizer: MegatronOptimizer, is_loading: bool) -> dict[str, Any]:
    def form() -> dict[str, Any]:  # megatron-core writes into it
        return {
            "distrib_optim_sharding_type": "fully_reshardable",
            "distrib_optim_fully_reshardable_mem_efficient": True,
            "chained_optim_avoid_prefix": True,
        }

    weights = {f"model{number}": chunk.sharded_state_dict(metadata=form()) for number, chunk in enumerate(chunks)}
    return {**weights, "optimizer": optimizer.sharded_state_dict(weights, is_loading=is_loading, metadata=form())}
