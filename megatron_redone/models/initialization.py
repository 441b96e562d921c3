"""Draws random weights that are the same on any layout.

Every block of rows of every full weight has a generator of its own, seeded by its name. So a rank draws
what it needs and nothing else, and a run starts from the same model on one process and on a thousand.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_redone.distributed.context import ParallelContext
from megatron_redone.models.architecture import Architecture
from megatron_redone.models.shards import Shard, iterate_shards

_BLOCK = 256  # rows of one generator


def draw_weights(chunks: Sequence[GPTModel], architecture: Architecture, context: ParallelContext, seed: int) -> None:
    """Fills all parameters: norms with one, biases with zero, matrices with normal numbers.

    Matrices that write to the residual stream have their deviation divided by sqrt(2 x layers), as in
    GPT-2 and Megatron-LM: the sum over layers then keeps its size.
    """
    for shard in iterate_shards(chunks, architecture, context):
        if len(shard.full_shape) == 1:
            constant = 0.0 if shard.name.endswith("bias") else 1.0
            shard.parameter.data.fill_(constant)
            continue
        deviation = architecture.initializer_range
        if shard.name.endswith(("linear_proj.weight", "linear_fc2.weight")):
            deviation /= math.sqrt(2 * architecture.num_hidden_layers)
        shard.fill(_draw(shard, deviation, seed))


def _draw(shard: Shard, deviation: float, seed: int) -> torch.Tensor:
    rows, columns = shard.full_shape
    if shard.dim == 0:
        return torch.cat([_rows(shard.name, seed, first, last, columns, deviation) for first, last in shard.ranges])
    full = _rows(shard.name, seed, 0, rows, columns, deviation)
    return shard.take(full)


def _rows(name: str, seed: int, first: int, last: int, columns: int, deviation: float) -> torch.Tensor:
    """Rows `first` to `last` of a full weight, float32 on the CPU."""
    drawn = torch.empty(last - first, columns)
    for block in range(first // _BLOCK, -(-last // _BLOCK)):
        start = block * _BLOCK
        numbers = torch.empty(_BLOCK, columns).normal_(0.0, deviation, generator=_generator(f"{seed}/{name}/{block}"))
        begin, end = max(first, start), min(last, start + _BLOCK)
        drawn[begin - first : end - first] = numbers[begin - start : end - start]
    return drawn


def _generator(text: str) -> torch.Generator:
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
