"""An architecture, a way of computing it and parallel sizes, as megatron-core's TransformerConfig."""

import logging
import math
from typing import Any

import torch
from megatron.core.tensor_parallel import layers
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.utils import is_te_min_version

from megatron_redone.architectures import Architecture
from megatron_redone.config.model import Backend, CrossEntropyFusion, ModelConfig, Precision, Recompute
from megatron_redone.config.parallel import ContextExchange, ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.models.cuda_graphs import cuda_graph_keys
from megatron_redone.models.parallel_sizes import layers_of_stages
from megatron_redone.models.rotary import inverse_frequencies

log = logging.getLogger(__name__)

DTYPES = {
    Precision.fp32: torch.float32,
    Precision.bf16: torch.bfloat16,
    Precision.fp8: torch.bfloat16,
    Precision.fp8_emulated: torch.bfloat16,
}


def transformer_config(
    architecture: Architecture, model: ModelConfig, parallel: ParallelConfig, backend: Backend, device: torch.device
) -> TransformerConfig:
    """Builds the object that all of megatron-core's modules and schedules read.

    Args:
        architecture: The shape of the model.
        model: Precision and recomputation.
        parallel: The sizes.
        backend: `torch` or `transformer_engine`, not `auto`.
        device: Where weights are made.
    """
    dtype = DTYPES[model.precision]
    if parallel.tp_comm_overlap and backend is not Backend.transformer_engine:
        raise UserError("tp_comm_overlap: needs backend=transformer_engine; leave it false")
    return TransformerConfig(
        num_layers=architecture.num_hidden_layers,
        hidden_size=architecture.hidden_size,
        num_attention_heads=architecture.num_attention_heads,
        num_query_groups=architecture.num_key_value_heads,
        kv_channels=architecture.head_dim,
        ffn_hidden_size=architecture.intermediate_size,
        normalization="RMSNorm",
        layernorm_epsilon=architecture.rms_norm_eps,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        add_qkv_bias=architecture.qkv_bias,
        qk_layernorm=architecture.qk_norm,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        softmax_scale=_softmax_scale(architecture, backend),
        # Weights are drawn by initialization.py, the same for any parallel sizes. Initialization stays switched on
        # because megatron-core marks there which weights tensor parallelism splits.
        init_method=_leave if not model.fp8.fp8_param_gather else torch.nn.init.zeros_,
        output_layer_init_method=_leave if not model.fp8.fp8_param_gather else torch.nn.init.zeros_,
        embedding_init_method=_leave,
        use_cpu_initialization=device.type == "cpu",
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype is torch.bfloat16,
        calculate_per_token_loss=True,
        tensor_model_parallel_size=parallel.tensor_model_parallel_size,
        pipeline_model_parallel_size=parallel.pipeline_model_parallel_size,
        virtual_pipeline_model_parallel_size=parallel.virtual_pipeline_model_parallel_size,
        num_layers_in_first_pipeline_stage=parallel.num_layers_in_first_pipeline_stage,
        num_layers_in_last_pipeline_stage=parallel.num_layers_in_last_pipeline_stage,
        context_parallel_size=parallel.context_parallel_size,
        cp_comm_type=_context_communication(parallel, backend),
        sequence_parallel=parallel.sequence_parallel,
        # Frees a stage's output once it is sent; the graph keeps what the backward pass needs. CUDA orders the
        # two, gloo does not: it would send what the memory is used for next.
        deallocate_pipeline_outputs=device.type == "cuda",
        # With two stages both neighbours are one process, and batched messages to it get mixed up in silence.
        overlap_p2p_comm=parallel.virtual_pipeline_model_parallel_size is not None,
        batch_p2p_comm=parallel.virtual_pipeline_model_parallel_size is None,
        # Transformer Engine's packed rows are padded for context parallelism, each to a length of its own.
        variable_seq_lengths=(
            backend is Backend.transformer_engine
            and parallel.context_parallel_size > 1
            and parallel.pipeline_model_parallel_size > 1
        ),
        # There are no experts; by its default megatron-core refuses lengths that vary.
        moe_token_dispatcher_type="alltoall",
        # Adds weight gradients within the matrix product, where a kernel for it is there.
        gradient_accumulation_fusion=layers._grad_accum_fusion_available,
        tp_comm_overlap=parallel.tp_comm_overlap,
        **_fusions(backend),
        **_cross_entropy(model, backend, device),
        **_fp8(model),
        **cuda_graph_keys(model, parallel, backend),
        **_recompute(model, architecture, parallel),
    )


def _context_communication(parallel: ParallelConfig, backend: Backend) -> str:
    """megatron-core's name of what context-parallel processes send each other; the torch backend reads it too."""
    if parallel.context_parallel_exchange is ContextExchange.keys:
        return "p2p"
    if backend is Backend.transformer_engine and not is_te_min_version("2.11.0"):
        raise UserError(
            "context_parallel_exchange: heads of packed rows need Transformer Engine 2.11 or later; take keys"
        )
    return "a2a"


def _leave(weight: torch.Tensor) -> None:
    pass


def _softmax_scale(architecture: Architecture, backend: Backend) -> float | None:
    """What scores are multiplied by; None is one over the root of the channels of a head.

    Transformer Engine's kernel rotates by angles: a factor on cosine and sine, as yarn has one, is applied to the
    scores instead, once for queries and once for keys.
    """
    factor = inverse_frequencies(architecture.rotary)[1]
    if factor == 1 or backend is not Backend.transformer_engine:
        return None
    return factor**2 / math.sqrt(architecture.head_dim)


def _fusions(backend: Backend) -> dict[str, Any]:
    """Fused kernels: Transformer Engine's, or the torch backend's own modules instead of megatron-core's."""
    fused = backend is Backend.transformer_engine
    return {
        "apply_rope_fusion": fused,
        "bias_activation_fusion": fused,
        "bias_dropout_fusion": fused,
        "masked_softmax_fusion": False,
        "persist_layer_norm": False,
        # The switch by which an MLP takes the specification's activation module; ours is no Transformer Engine one.
        "use_te_activation_func": not fused,
    }


def _cross_entropy(model: ModelConfig, backend: Backend, device: torch.device) -> dict[str, Any]:
    choice = _chosen_cross_entropy(model, device)
    if choice is CrossEntropyFusion.plain:
        return {}
    if device.type != "cuda":
        raise UserError(f"cross_entropy_fusion_impl: {choice.value} needs a CUDA device; take plain")
    if choice is CrossEntropyFusion.native and DTYPES[model.precision] is torch.float32:
        raise UserError(
            "cross_entropy_fusion_impl: native rounds gradients to bf16; under precision=fp32 take plain or te"
        )
    if choice is CrossEntropyFusion.te and backend is not Backend.transformer_engine:
        raise UserError("cross_entropy_fusion_impl: te needs backend=transformer_engine; take native or plain")
    if choice is CrossEntropyFusion.te and not is_te_min_version("2.18.0"):
        # Gradients are rounded before 1 is subtracted from them (mended by its pull request 3193).
        log.warning(
            "cross_entropy_fusion_impl: te before Transformer Engine 2.18 leaves tokens with a probability above 0.998 "
            "without a gradient; native is exact"
        )
    return {"cross_entropy_loss_fusion": True, "cross_entropy_fusion_impl": choice.value}


def _chosen_cross_entropy(model: ModelConfig, device: torch.device) -> CrossEntropyFusion:
    if model.cross_entropy_fusion_impl is not CrossEntropyFusion.auto:
        return model.cross_entropy_fusion_impl
    runs = device.type == "cuda" and DTYPES[model.precision] is torch.bfloat16
    return CrossEntropyFusion.native if runs else CrossEntropyFusion.plain


def _fp8(model: ModelConfig) -> dict[str, Any]:
    """What megatron-core makes Transformer Engine's recipe of; the emulation is not its business."""
    if model.precision is not Precision.fp8:
        return {}
    fp8 = model.fp8
    return {
        "fp8": fp8.operand_format.value,
        "fp8_recipe": fp8.recipe.value,
        "fp8_margin": fp8.margin,
        "fp8_amax_history_len": fp8.amax_history,
        "fp8_amax_compute_algo": fp8.amax_algo.value,
        "fp8_param": fp8.fp8_param_gather,
        "first_last_layers_bf16": fp8.keeps_layers,
        "num_layers_at_start_in_bf16": fp8.first_layers_bf16,
        "num_layers_at_end_in_bf16": fp8.last_layers_bf16,
    }


def _recompute(model: ModelConfig, architecture: Architecture, parallel: ParallelConfig) -> dict[str, Any]:
    if model.recompute is Recompute.none:
        return {}
    if model.recompute is Recompute.selective:
        return {"recompute_granularity": "selective", "recompute_modules": list(model.recompute_modules)}
    virtual = parallel.virtual_pipeline_model_parallel_size or 1
    held = max(layers_of_stages(architecture, parallel)) // virtual
    count = model.recompute_num_layers
    if count is not None and count > held:
        raise UserError(f"recompute_num_layers: {count} is more than the {held} layers of a pipeline model chunk")
    if count is None:
        return {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    return {"recompute_granularity": "full", "recompute_method": "block", "recompute_num_layers": count}
