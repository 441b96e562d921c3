"""The layer specifications: megatron-core's over Transformer Engine, and ours over torch.

Both make the same GPTModel with the same checkpoint keys.
"""

import importlib.util

import torch
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
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules

from megatron_redone.config.model import Backend
from megatron_redone.errors import UserError
from megatron_redone.models.rotary import RotaryConfig
from megatron_redone.models.torch_attention import TorchCoreAttention, TorchSelfAttention
from megatron_redone.models.torch_layers import TorchRMSNorm, TorchSwiGLU

# Norms have modules of their own here and are part of the next matrix product in Transformer Engine.
CHECKPOINT_KEYS = {
    "input_layernorm.": "self_attention.linear_qkv.layer_norm_",
    "pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_",
}


def choose_backend(choice: Backend, device: torch.device, rotary: RotaryConfig) -> Backend:
    """Turns `auto` into a backend, and refuses one that cannot run here or not exactly."""
    runs = device.type == "cuda" and importlib.util.find_spec("transformer_engine") is not None
    if choice is Backend.auto:
        return Backend.transformer_engine if runs and rotary.kind != "yarn" else Backend.torch
    if choice is Backend.transformer_engine and not runs:
        raise UserError("backend: transformer_engine needs a CUDA device and the transformer_engine package; use auto")
    if choice is Backend.transformer_engine and rotary.kind == "yarn":
        raise UserError("backend: transformer_engine cannot scale rotary positions by yarn; use backend=torch")
    return choice


def block_spec(
    backend: Backend, config: TransformerConfig, pipeline_rank: int, vp_stage: int | None
) -> TransformerBlockSubmodules:
    """The layers of one pipeline piece, and the final norm."""
    count = get_num_layers_to_build(config, vp_stage=vp_stage, pp_rank=pipeline_rank)
    if backend is Backend.torch:
        return TransformerBlockSubmodules([_torch_layer(config.qk_layernorm)] * count, TorchRMSNorm)  # type: ignore[arg-type]
    from megatron.core.extensions.transformer_engine import TENorm  # exists with Transformer Engine only

    layer = get_gpt_layer_with_transformer_engine_spec(qk_layernorm=config.qk_layernorm)
    return TransformerBlockSubmodules([layer] * count, TENorm)  # type: ignore[arg-type]


def _torch_layer(qk_norm: bool) -> ModuleSpec:
    head_norm = TorchRMSNorm if qk_norm else IdentityOp
    attention = SelfAttentionSubmodules(
        linear_qkv=ColumnParallelLinear,
        core_attention=TorchCoreAttention,  # type: ignore[arg-type]
        linear_proj=RowParallelLinear,
        q_layernorm=head_norm,
        k_layernorm=head_norm,
    )
    mlp = MLPSubmodules(linear_fc1=ColumnParallelLinear, activation_func=TorchSwiGLU, linear_fc2=RowParallelLinear)
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
            sharded_state_dict_keys_map=CHECKPOINT_KEYS,
        ),
    )
