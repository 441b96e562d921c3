"""Main weights that begin at a random place among the values that round to their bf16 weight."""

import logging
from collections.abc import Iterable

import torch
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.models.bf16_rounding import dither_
from megatron_redone.models.build import Model
from megatron_redone.training.main_weights import MainWeight, main_weights, optimizer_parts, with_random_bits

log = logging.getLogger(__name__)


def dither_main_weights(model: Model, optimizer: MegatronOptimizer, seed: int) -> None:
    """Moves main weights off the bf16 values that they were copied from; what the model computes with stays as it is.

    Where main weights begin on bf16 values, the model sees nothing of a step until a weight has collected half the
    distance to the next value: at a learning rate of 1e-6 that takes a weight of 0.02 sixty steps. Main weights that
    begin anywhere within the interval have some of their number cross a border in every step, so that the mean moves
    as the main weights do. What is drawn goes by seed, full weight and place, and so is the same on every layout.

    Weights that the model holds in FP8 (fp8_param_gather) stay as they are until the first step rounds the main weights
    to FP8. One bf16 value in sixteen is halfway between two FP8 values where scales are powers of two; all of those
    would follow the first step, however small. Moved, they go to either side by chance, and the mean is the step's.

    Args:
        model: Its weights are given, as bf16 values, from which the main weights were copied.
        optimizer: Just built over them.
        seed: Of the run.
    """
    count = sum(dither_weights(main_weights(part, model), seed) for part in optimizer_parts(optimizer))
    log.info("main weights: %s begin at random places within what rounds to their bf16 value", f"{count:,}")


def dither_weights(weights: Iterable[MainWeight], seed: int) -> int:
    """Moves some main weights, and says how many elements they have; see `dither_main_weights`."""

    def move(weight: MainWeight, part: slice, bits: torch.Tensor) -> None:
        dither_(weight.main[part], bits)

    return with_random_bits(weights, f"{seed}/dither", move)
