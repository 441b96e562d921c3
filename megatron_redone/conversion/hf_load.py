"""Fills a model from a Hugging Face directory; every rank reads its own slices and nothing else."""

from collections.abc import Sequence

import torch
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_redone.architectures import Architecture
from megatron_redone.architectures.weights import FullWeight, full_weights
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.model_folders.hf_reader import HFWeights
from megatron_redone.models.shards import Shard, iterate_shards


def load_hf_weights(
    model_chunks: Sequence[GPTModel], source: HFWeights, architecture: Architecture, context: ParallelContext
) -> None:
    """Copies this rank's part of the weights into its model chunks, before an optimizer is built over them.

    Raises:
        UserError: a file is damaged.
    """
    weights = full_weights(architecture)
    for shard in iterate_shards(model_chunks, architecture, context):
        shard.fill(_read(shard, weights[shard.name], source))


def _read(shard: Shard, weight: FullWeight, source: HFWeights) -> torch.Tensor:
    assert weight.shape == shard.full_shape, (weight.key, weight.shape, shard.full_shape)
    if shard.dim == 1:
        ((first, last),) = shard.ranges
        (part,) = weight.parts  # no mapping puts tensors with split columns together
        return source.read_columns(part.name, first, last)
    ranges = shard.ranges if shard.dim == 0 else ((0, weight.rows),)
    filled = [source.read_rows_of(weight, first, last) for first, last in ranges if first < last]
    return torch.cat(filled) if filled else shard.parameter.new_empty(0, *weight.columns)
