"""Which of the remedies for small steps in bf16 a run uses; what they are, docs/small_steps.md says."""

from megatron_redone.config.bf16_rounding import Bf16Rounding
from megatron_redone.config.model import ModelConfig, Precision
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.errors import UserError


def check_small_steps(optimizer: OptimizerConfig, model: ModelConfig) -> None:
    """Refuses what cannot be done to the main weights of a run.

    Raises:
        UserError: naming the key.
    """
    stochastic = optimizer.bf16_rounding is Bf16Rounding.stochastic
    if model.precision is Precision.fp32:
        if optimizer.dither_main_weights:
            raise UserError(
                "optimizer.dither_main_weights: under model.precision=fp32 the model computes with the main weights "
                "themselves, and would change; leave it null"
            )
        if stochastic:
            raise UserError("optimizer.bf16_rounding: nothing is rounded under model.precision=fp32; take nearest")
    if stochastic and model.fp8.fp8_param_gather:
        raise UserError(
            "optimizer.bf16_rounding: not with model.fp8.fp8_param_gather, where Transformer Engine rounds; take "
            "nearest"
        )
    if stochastic and optimizer.optimizer_offload_fraction:
        raise UserError(
            "optimizer.bf16_rounding: not with optimizer_offload_fraction, where megatron-core's optimizer rounds by "
            "itself; take nearest"
        )


def are_dithered(optimizer: OptimizerConfig, model: ModelConfig, given: bool) -> bool:
    """Whether the main weights of a new run are dithered.

    Args:
        optimizer: What is asked for.
        model: How the weights are held.
        given: Whether the weights were given, and not drawn.
    """
    if optimizer.dither_main_weights is not None:
        return optimizer.dither_main_weights
    return given and model.precision is not Precision.fp32
