"""Draws random weights that are the same on any layout.

Every block of rows of every full weight has a generator of its own, seeded by its name. So a rank draws
what it needs and nothing else, and a run starts from the same model on one process and on a thousand.
"""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_redone.architectures import Architecture
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.models.shards import Shard, iterate_shards

_BLOCK = 256  # rows of one generator


def draw_weights(
    model_chunks: Sequence[GPTModel], architecture: Architecture, context: ParallelContext, seed: int
) -> None:
    """Fills all parameters: norms with one, biases with zero, matrices with normal numbers.

    Matrices that write to the residual stream have their deviation divided by sqrt(2 x layers), as in
    GPT-2 and Megatron-LM: the sum over layers then keeps its size.
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for shard in iterate_shards(model_chunks, architecture, context):
            if len(shard.full_shape) == 1:
                constant = 0.0 if shard.name.endswith("bias") else 1.0
                shard.parameter.data.fill_(constant)
                continue
            deviation = architecture.initializer_range
            if shard.name.endswith(("linear_proj.weight", "linear_fc2.weight")):
                deviation /= math.sqrt(2 * architecture.num_hidden_layers)
            shard.fill(_draw(shard, deviation, seed, threads))


def _draw(shard: Shard, deviation: float, seed: int, threads: ThreadPoolExecutor) -> torch.Tensor:
    rows, columns = shard.full_shape
    ranges = shard.ranges if shard.dim == 0 else [(0, rows)]
    parts = [_rows(f"{seed}/{shard.name}", first, last, columns, deviation, threads) for first, last in ranges]
    return torch.cat(parts) if shard.dim == 0 else shard.take(parts[0])


def _rows(
    name: str, first: int, last: int, columns: int, deviation: float, threads: ThreadPoolExecutor
) -> torch.Tensor:
    """Rows `first` to `last` of a full weight, float32 on the CPU."""
    drawn = torch.empty(last - first, columns)

    def draw(block: int) -> None:
        start = block * _BLOCK
        numbers = torch.empty(_BLOCK, columns).normal_(0.0, deviation, generator=_generator(f"{name}/{block}"))
        begin, end = max(first, start), min(last, start + _BLOCK)
        drawn[begin - first : end - first] = numbers[begin - start : end - start]

    list(threads.map(draw, range(first // _BLOCK, -(-last // _BLOCK))))
    return drawn


def _generator(text: str) -> torch.Generator:
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
