"""The weights of a checkpoint as an export wants them: which of those that it holds, and how they are rounded."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from megatron_redone.conversion.mcore_reader import CheckpointWeights, read_main_weights
from megatron_redone.models.bf16_rounding import round_stochastically
from megatron_redone.models.random_bits import key_of, random_bits

log = logging.getLogger(__name__)

Rounding = Callable[[str, int, torch.Tensor], torch.Tensor]
"""Makes rows of a full weight, of which the key and the first row are given, another type."""


def open_weights(checkpoint: Path, dtype: torch.dtype | None) -> CheckpointWeights:
    """The weights that an export is made of, and tells which: fp32 is made of main weights, if there are any.

    Args:
        checkpoint: A megatron-core distributed checkpoint.
        dtype: What is wanted; None for what the checkpoint has.

    Raises:
        UserError: it is no such checkpoint.
    """
    weights = CheckpointWeights(checkpoint)
    if dtype is not torch.float32 or torch.bfloat16 not in weights.dtypes:
        return weights
    main = read_main_weights(checkpoint)
    if main is None:
        log.info("weights: the checkpoint has them in bf16 and has no main weights; fp32 adds nothing to them")
        return weights
    log.info("weights: the fp32 main weights of the run, not the bf16 weights that it computed with")
    return main


def make_rounding(weights: CheckpointWeights, dtype: torch.dtype | None, stochastic: bool, seed: int) -> Rounding:
    """How rows become the type of an export, and tells it where fp32 weights are rounded to bf16.

    Args:
        weights: Those that are exported.
        dtype: What is wanted; None for what they have.
        stochastic: Whether fp32 weights are rounded to bf16 by chance. What is drawn goes by seed, full weight and
            place: it is the same for every layout of the checkpoint.
        seed: Of what is drawn.
    """
    if dtype is not torch.bfloat16 or torch.float32 not in weights.dtypes:
        return lambda _, __, rows: rows if dtype is None else rows.to(dtype)
    if not stochastic:
        log.info("weights: rounded from fp32 to the nearest bf16; changes of less than half the spacing are lost")
        return lambda _, __, rows: rows.to(dtype)
    log.info("weights: rounded from fp32 to bf16 by chance (seed %d), so that small changes keep their mean", seed)
    return lambda key, first, rows: _round(key_of(seed, "export", key), first, rows)


def _round(key: int, first: int, rows: torch.Tensor) -> torch.Tensor:
    if rows.dtype is not torch.float32:
        return rows.to(torch.bfloat16)
    matrix = rows.view(len(rows), -1)
    bits = random_bits(key, (first, 0), (len(matrix), matrix.shape[1]), matrix.shape[1], rows.device)
    return round_stochastically(matrix, bits).view(rows.shape)
