"""Refuses FP8 that this machine, this model or this layout cannot do, before anything is built."""

import torch

from megatron_redone.architectures import Architecture
from megatron_redone.config.fp8 import Fp8Config, Fp8Machine, Fp8Recipe, check_recipe
from megatron_redone.config.model import Backend, ModelConfig, Precision, Recompute
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError

# What both sides of every matrix must be multiples of: assert_dim_for_fp8_exec in transformer_engine/pytorch/utils.py,
# and the block of the recipe.
_MULTIPLE = {Fp8Recipe.delayed: 16, Fp8Recipe.tensorwise: 16, Fp8Recipe.blockwise: 128, Fp8Recipe.mxfp8: 32}


def check_fp8(
    model: ModelConfig, backend: Backend, architecture: Architecture, parallel: ParallelConfig, device: torch.device
) -> None:
    """Raises a UserError that says what is in the way; does nothing for other precisions."""
    if model.precision is Precision.fp8_emulated:
        _check_emulation(model, parallel)
    if model.precision is not Precision.fp8:
        return
    if backend is not Backend.transformer_engine:
        raise UserError(
            "precision: fp8 needs Transformer Engine on a CUDA device, which this run does not have; take bf16, or "
            "fp8_emulated to study convergence"
        )
    check_recipe(model.fp8.recipe, read_machine(device))
    _check_shape(model.fp8, architecture, parallel)
    _check_param_gather(model.fp8, parallel)


def check_fp8_rows(model: ModelConfig, parallel: ParallelConfig, rows: int, length: int) -> None:
    """Refuses micro-batches whose share of a rank FP8's products cannot take.

    Args:
        rows: Of a micro-batch.
        length: Tokens of a row.
    """
    if model.precision is not Precision.fp8:
        return
    multiple = model.tokens_multiple(parallel.sequence_parallel)
    ranks = parallel.context_parallel_size
    ranks *= parallel.tensor_model_parallel_size if parallel.sequence_parallel else 1
    if rows * length % (ranks * multiple):
        raise UserError(
            f"data.seq_length: precision=fp8 wants a multiple of {multiple} tokens on each of the {ranks} ranks that "
            f"share a micro-batch; {rows} x {length} is none"
        )


def read_machine(device: torch.device) -> Fp8Machine:
    """What this process runs on; Transformer Engine must import."""
    from megatron.core.utils import get_te_version

    engine = get_te_version()
    assert engine is not None
    major, minor = (int(part) for part in (torch.version.cuda or "0.0").split(".")[:2])
    return Fp8Machine(
        compute_capability=torch.cuda.get_device_capability(device),
        cuda=(major, minor),
        transformer_engine=(engine.major, engine.minor),
    )


def _check_emulation(model: ModelConfig, parallel: ParallelConfig) -> None:
    stages = parallel.pipeline_model_parallel_size
    if model.fp8.recipe is Fp8Recipe.delayed and model.recompute is not Recompute.none and stages > 1:
        # Another micro-batch would move the scales between a forward pass and its repetition.
        raise UserError(
            "recompute: fp8_emulated with fp8.recipe=delayed cannot recompute under pipeline_model_parallel_size > 1; "
            "take recipe=tensorwise or recompute=none"
        )


def _check_shape(fp8: Fp8Config, architecture: Architecture, parallel: ParallelConfig) -> None:
    tensor, multiple = parallel.tensor_model_parallel_size, _MULTIPLE[fp8.recipe]
    heads = architecture.num_attention_heads + 2 * architecture.num_key_value_heads
    for what, size in (
        ("hidden size", architecture.hidden_size),
        ("query, key and value width of a rank", heads * architecture.head_dim // tensor),
        ("attention output width of a rank", architecture.num_attention_heads * architecture.head_dim // tensor),
        ("feed-forward width of a rank", architecture.intermediate_size // tensor),
    ):
        if size % multiple:
            raise UserError(
                f"fp8.recipe: {fp8.recipe.value} needs matrices with sides that are multiples of {multiple}, the "
                f"model's {what} is {size}; take another recipe or tensor_model_parallel_size"
            )


def _check_param_gather(fp8: Fp8Config, parallel: ParallelConfig) -> None:
    if not fp8.fp8_param_gather:
        return
    if not parallel.use_distributed_optimizer:
        raise UserError("fp8.fp8_param_gather: needs parallel.use_distributed_optimizer")
    if fp8.recipe is Fp8Recipe.mxfp8:
        # megatron-core then shares the gradient buffer, which its own training script must copy from.
        raise UserError("fp8.fp8_param_gather: not with recipe=mxfp8; leave it false")
