"""The layer specifications: megatron-core's over Transformer Engine, and ours over torch.

Both make the same GPTModel with the same checkpoint keys.
"""

import importlib
import importlib.util
import logging
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.extensions import transformer_engine as engine
from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_with_transformer_engine_spec
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.attention import SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import (
    TransformerLayer,
    TransformerLayerSubmodules,
    get_transformer_layer_offset,
)

from megatron_redone.architectures.families import NORM_KEYS
from megatron_redone.config.fp8 import Fp8Config
from megatron_redone.config.model import Backend
from megatron_redone.errors import UserError
from megatron_redone.models.fp8_linear import Fp8ColumnParallelLinear, Fp8RowParallelLinear
from megatron_redone.models.torch_attention import TorchCoreAttention, TorchSelfAttention
from megatron_redone.models.torch_layers import TorchRMSNorm, TorchSwiGLU

log = logging.getLogger(__name__)

_NOT_INSTALLED = "the transformer_engine package is not installed"


@dataclass(frozen=True, kw_only=True)
class Fp8Emulation:
    """The recipe, and the ranks that hold the same layers, over which the delayed one looks for large values."""

    fp8: Fp8Config
    amax_group: Any


def choose_backend(choice: Backend, device: torch.device) -> Backend:
    """Turns `auto` into a backend, and refuses one that cannot run here."""
    problem = engine_problem() if device.type == "cuda" else "it needs a CUDA device"
    if choice is Backend.auto:
        if device.type == "cuda" and problem not in (None, _NOT_INSTALLED):
            log.warning("backend: torch is taken, as transformer_engine cannot be: %s", problem)
        return Backend.transformer_engine if problem is None else Backend.torch
    if choice is Backend.transformer_engine and problem is not None:
        raise UserError(f"backend: transformer_engine cannot be taken: {problem}; use auto")
    return choice


def engine_problem() -> str | None:
    """Why Transformer Engine cannot be used here; None where megatron-core has found all of it.

    The package being there says too little: its metapackage is, also where the half for torch is missing or was built
    for another torch.
    """
    if engine.HAVE_TE:
        return None
    if importlib.util.find_spec("transformer_engine") is None:
        return _NOT_INSTALLED
    try:
        importlib.import_module("transformer_engine.pytorch")
    except Exception as error:  # whatever its libraries raise
        return f"its import fails with {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return "megatron-core cannot import it, which is made for its versions 2.9 to 2.11"


def block_spec(
    backend: Backend,
    config: TransformerConfig,
    pipeline_rank: int,
    vp_stage: int | None,
    emulation: Fp8Emulation | None = None,
) -> TransformerBlockSubmodules:
    """The layers of one pipeline model chunk, and the final norm."""
    count = get_num_layers_to_build(config, vp_stage=vp_stage, pp_rank=pipeline_rank)
    if backend is Backend.torch:
        first = get_transformer_layer_offset(config, vp_stage=vp_stage, pp_rank=pipeline_rank)
        layers = [_torch_layer(config, layer, emulation) for layer in range(first, first + count)]
        return TransformerBlockSubmodules(layers, TorchRMSNorm)  # type: ignore[arg-type]
    from megatron.core.extensions.transformer_engine import TENorm  # exists with Transformer Engine only

    layer = get_gpt_layer_with_transformer_engine_spec(qk_layernorm=config.qk_layernorm)
    return TransformerBlockSubmodules([layer] * count, TENorm)  # type: ignore[arg-type]


def _linear_layers(config: TransformerConfig, layer: int, emulation: Fp8Emulation | None) -> tuple[Any, Any]:
    """Modules for outputs and for inputs split over ranks, of a layer counted over the whole model."""
    if emulation is None or emulation.fp8.is_bf16_layer(layer, config.num_layers):
        return ColumnParallelLinear, RowParallelLinear
    keys = {"fp8": emulation.fp8, "amax_group": emulation.amax_group}
    return ModuleSpec(Fp8ColumnParallelLinear, params=keys), ModuleSpec(Fp8RowParallelLinear, params=keys)


def _torch_layer(config: TransformerConfig, layer: int, emulation: Fp8Emulation | None) -> ModuleSpec:
    head_norm = TorchRMSNorm if config.qk_layernorm else IdentityOp
    column, row = _linear_layers(config, layer, emulation)
    attention = SelfAttentionSubmodules(
        linear_qkv=column,
        core_attention=TorchCoreAttention,  # type: ignore[arg-type]
        linear_proj=row,
        q_layernorm=head_norm,
        k_layernorm=head_norm,
    )
    mlp = MLPSubmodules(linear_fc1=column, activation_func=TorchSwiGLU, linear_fc2=row)
    return ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=TorchRMSNorm,
            self_attention=ModuleSpec(
                module=TorchSelfAttention, params={"attn_mask_type": AttnMaskType.causal}, submodules=attention
            ),
            self_attn_bda=get_bias_dropout_add,  # type: ignore[arg-type]
            pre_mlp_layernorm=TorchRMSNorm,
            mlp=ModuleSpec(module=MLP, submodules=mlp),
            mlp_bda=get_bias_dropout_add,  # type: ignore[arg-type]
            sharded_state_dict_keys_map=NORM_KEYS,
        ),
    )
