"""Fills a model from the full weights, or the main weights, of a checkpoint; every rank takes its own part."""

from collections.abc import Sequence

import torch
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_redone.architectures import Architecture
from megatron_redone.conversion.mcore_reader import CheckpointWeights
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.models.shards import Shard, iterate_shards


def load_checkpoint_weights(
    model_chunks: Sequence[GPTModel], source: CheckpointWeights, architecture: Architecture, context: ParallelContext
) -> None:
    """Copies this rank's part of the weights into its model chunks, in the type that those have.

    Raises:
        UserError: a file of the checkpoint is missing or truncated.
    """
    for shard in iterate_shards(model_chunks, architecture, context):
        shard.fill(_read(shard, source))


def _read(shard: Shard, source: CheckpointWeights) -> torch.Tensor:
    if shard.dim == 0:
        return torch.cat([source.read(shard.name, first, last) for first, last in shard.ranges])
    return shard.take(source.read(shard.name, 0, shard.full_shape[0]))
