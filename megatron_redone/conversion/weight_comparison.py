"""Compares the weights of a checkpoint with those of a Hugging Face directory, tensor by tensor."""

import math
from dataclasses import dataclass

import torch

from megatron_redone.architectures import Architecture
from megatron_redone.architectures.weights import HFTensor, family_tensors, full_weights
from megatron_redone.conversion.mcore_reader import CheckpointWeights
from megatron_redone.conversion.row_blocks import row_blocks
from megatron_redone.model_folders.hf_reader import HFWeights


@dataclass(frozen=True, kw_only=True)
class WeightDifference:
    """What differs.

    Attributes:
        tensors: All tensors of the model.
        differing: How many of them are not equal.
        first: The first of these, in the order of the layers; None where all are equal.
        largest: The largest difference of two numbers in it; infinite where one of them is not a number.
    """

    tensors: int
    differing: int
    first: str | None
    largest: float


def compare_weights(checkpoint: CheckpointWeights, hf: HFWeights, architecture: Architecture) -> WeightDifference:
    """Reads both, a block of rows at a time.

    Raises:
        UserError: the checkpoint does not hold exactly the weights of the model.
    """
    weights = full_weights(architecture)
    checkpoint.check(weights)
    tensors = family_tensors(architecture)
    found = {tensor.name: _largest_difference(tensor, checkpoint, hf) for tensor in tensors}
    differing = [name for name, largest in found.items() if largest != 0]
    first = differing[0] if differing else None
    return WeightDifference(
        tensors=len(tensors), differing=len(differing), first=first, largest=found[first] if first else 0.0
    )


def _largest_difference(tensor: HFTensor, checkpoint: CheckpointWeights, hf: HFWeights) -> float:
    largest, at = 0.0, 0
    for start, stop in tensor.ranges:
        for first, last in row_blocks(start, stop, tensor.weight.columns):
            ours = checkpoint.read(tensor.weight.key, first, last).float()
            theirs = hf.read(tensor.name, at, at + last - first).float()
            at += last - first
            if not torch.equal(ours, theirs):
                largest = max(largest, _difference(ours, theirs))
    return largest


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest of all numbers; infinite where there is something that is no number, which `max` would pass over."""
    apart = (ours - theirs).abs().masked_fill(ours == theirs, 0.0)
    return float(apart.nan_to_num(nan=math.inf, posinf=math.inf).max())
