"""Weights and optimizer as sharded state, for checkpoints that load on any layout."""

from collections.abc import Sequence
from typing import Any

import torch
from megatron.core.fp8_utils import is_float8tensor, post_all_gather_processing
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import MegatronOptimizer
from torch.nn import Module

from megatron_redone.models.set_weight import set_weight

_NORM_STATE = "layernorm._extra_state"


def _metadata() -> dict[str, Any]:
    """What megatron-core is told of the form. Made anew for each call, as megatron-core writes process groups into it.

    The optimizer's state is gathered into the shape of the weights, the only form that loads on another
    tensor or pipeline layout. Over gloo that takes main memory instead of the device's.
    """
    return {
        "distrib_optim_sharding_type": "fully_reshardable",
        "distrib_optim_fully_reshardable_mem_efficient": True,
        "chained_optim_avoid_prefix": True,
    }


def weights_state(chunks: Sequence[GPTModel]) -> dict[str, Any]:
    """The weights of this rank's model chunks, one entry a chunk; their keys count layers over the whole model.

    Without the state that Transformer Engine's norms claim to have, which is empty: no other backend writes it.
    """
    states = [chunk.sharded_state_dict(metadata=_metadata()) for chunk in chunks]
    for state in states:
        for key in [key for key in state if key.endswith(_NORM_STATE)]:
            del state[key]
    return {f"model{number}": state for number, state in enumerate(states)}


def full_state(chunks: Sequence[GPTModel], optimizer: MegatronOptimizer, is_loading: bool) -> dict[str, Any]:
    """Weights and optimizer.

    Args:
        chunks: This rank's model chunks, unwrapped.
        optimizer: Built over them.
        is_loading: Whether the state is to be filled from a checkpoint.
    """
    if not is_loading:
        gather_weights(optimizer)
    weights = weights_state(chunks)
    state = optimizer.sharded_state_dict(weights, is_loading=is_loading, metadata=_metadata())
    return {**weights, "optimizer": _without_classes(state)}


def _without_classes(state: Any) -> Any:
    """Leaves out Python classes, which a checkpoint cannot be trusted to name.

    Under optimizer_offload_fraction every parameter group holds those of its optimizers.
    """
    if isinstance(state, dict):
        return {key: _without_classes(value) for key, value in state.items() if not isinstance(value, type)}
    return [_without_classes(value) for value in state] if isinstance(state, list) else state


def gather_weights(optimizer: MegatronOptimizer) -> None:
    """Completes the weights that the next forward pass would gather (overlap_param_gather); else does nothing.

    Called by all ranks of the data-parallel group.
    """
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        for chunk in getattr(part, "model_chunks", []):
            if chunk.ddp_config.overlap_param_gather:
                chunk.start_param_sync(force_sync=True)
                # The next forward pass finds them gathered, and would leave out what it does to FP8 weights then.
                post_all_gather_processing([weight for weight in chunk.parameters() if is_float8tensor(weight)])


def load_weights(chunks: Sequence[GPTModel], loaded: dict[str, Any]) -> None:
    """Puts loaded weights into the model chunks."""
    for number, chunk in enumerate(chunks):
        state = loaded[f"model{number}"]
        _drop_emulated_scales(chunk, state)
        _answer_norms(chunk, state)
        chunk.load_state_dict(state)
        for name, parameter in chunk.named_parameters():
            if hasattr(parameter, "get_high_precision_init_val"):
                set_weight(parameter, state[name])  # of FP8 parameters load_state_dict sets the rounded values alone


def _answer_norms(chunk: GPTModel, state: dict[str, Any]) -> None:
    """Gives modules back the empty state that `weights_state` leaves out, for which a strict load would ask."""
    for name, module in chunk.named_modules():
        if f"{name}._extra_state".endswith(_NORM_STATE) and type(module).set_extra_state is not Module.set_extra_state:
            state[f"{name}._extra_state"] = None


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
