"""Weights and optimizer as sharded state, for checkpoints that load on any layout."""

from collections.abc import Sequence
from typing import Any

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.models.set_weight import set_weight


def _metadata() -> dict[str, Any]:
    """What megatron-core is told of the form. Made anew for each call: it writes process groups into it.

    The optimizer's state is gathered into the shape of the weights, the only form that loads on another
    tensor or pipeline layout. Over gloo that takes main memory instead of the device's.
    """
    return {
        "distrib_optim_sharding_type": "fully_reshardable",
        "distrib_optim_fully_reshardable_mem_efficient": True,
        "chained_optim_avoid_prefix": True,
    }


def weights_state(chunks: Sequence[GPTModel]) -> dict[str, Any]:
    """The weights of this rank's pieces, one entry a piece; their keys count layers over the whole model."""
    return {f"model{number}": chunk.sharded_state_dict(metadata=_metadata()) for number, chunk in enumerate(chunks)}


def full_state(chunks: Sequence[GPTModel], optimizer: MegatronOptimizer, is_loading: bool) -> dict[str, Any]:
    """Weights and optimizer.

    Args:
        chunks: This rank's pieces, unwrapped.
        optimizer: Built over them.
        is_loading: Whether the state is to be filled from a checkpoint.
    """
    if not is_loading:
        gather_weights(optimizer)
    weights = weights_state(chunks)
    return {**weights, "optimizer": optimizer.sharded_state_dict(weights, is_loading=is_loading, metadata=_metadata())}


def gather_weights(optimizer: MegatronOptimizer) -> None:
    """Completes the weights that the next forward pass would gather (overlap_param_gather); else does nothing.

    Called by all ranks of the data-parallel group.
    """
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        for chunk in getattr(part, "model_chunks", []):
            if chunk.ddp_config.overlap_param_gather:
                chunk.start_param_sync(force_sync=True)


def load_weights(chunks: Sequence[GPTModel], loaded: dict[str, Any]) -> None:
    """Puts loaded weights into the pieces."""
    for number, chunk in enumerate(chunks):
        state = loaded[f"model{number}"]
        _drop_emulated_scales(chunk, state)
        chunk.load_state_dict(state)
        for name, parameter in chunk.named_parameters():
            if hasattr(parameter, "get_high_precision_init_val"):
                set_weight(parameter, state[name])  # of FP8 parameters load_state_dict sets the rounded values alone


def _drop_emulated_scales(chunk: GPTModel, state: dict[str, Any]) -> None:
    """Leaves out delayed scales of emulated FP8 for a layer that is not; Transformer Engine's would fail on them."""
    for key, value in state.items():
        module, _, name = key.rpartition(".")
        is_ours = name == "_extra_state" and isinstance(value, torch.Tensor) and value.dtype is torch.float32
        if is_ours and not hasattr(chunk.get_submodule(module), "scaling"):
            state[key] = None


def load_full(chunks: Sequence[GPTModel], optimizer: MegatronOptimizer, loaded: dict[str, Any]) -> None:
    """Puts loaded weights and optimizer state back."""
    load_weights(chunks, loaded)
    optimizer.load_state_dict(loaded["optimizer"])
