"""bf16 weights that are rounded from the main weights by chance after every step."""

from typing import Any

import torch
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.models.bf16_rounding import round_stochastically
from megatron_redone.models.build import Model
from megatron_redone.training.main_weights import MainWeight, main_weights, optimizer_parts, with_random_bits


def round_copies_stochastically(model: Model, optimizer: MegatronOptimizer, seed: int) -> None:
    """Has every step round the model's weights up or down at random, so that their mean is the main weights'.

    What is drawn goes by seed, step, full weight and place: it is the same on every layout, and a run that was resumed
    goes on with the same. The step is the optimizer's own count of updates, which a checkpoint holds.
    """
    for part in optimizer_parts(optimizer):
        _replace_copying(part, model, seed)


def _replace_copying(part: Any, model: Model, seed: int) -> None:
    weights = list(main_weights(part, model))

    def copy() -> None:
        step = max(int(group.get("step", 0)) for group in part.optimizer.param_groups)
        with_random_bits(weights, f"{seed}/rounding/{step}", _round)

    part._copy_main_params_to_model_params = copy


def _round(weight: MainWeight, part: slice, bits: torch.Tensor) -> None:
    assert weight.copy is not None, "FP8 weights are rounded by Transformer Engine"
    weight.copy[part].copy_(round_stochastically(weight.main[part], bits))
