"""The fp32 main weights that an optimizer keeps beside bf16 weights, whichever of megatron-core's optimizers it is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.fp8_utils import is_float8tensor
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

from megatron_redone.checkpoint.rectangles import Rectangle
from megatron_redone.models.build import Model
from megatron_redone.models.random_bits import key_of, random_bits
from megatron_redone.models.shards import Shard, iterate_shards
from megatron_redone.training.places import places

# Elements: of each of torch's threads, and a gigabyte. Smaller blocks pay for the calls (2**15: three times as much).
_AT_ONCE_A_THREAD, _AT_ONCE_ON_A_GPU = 1 << 18, 1 << 26


@dataclass(frozen=True, kw_only=True)
class MainWeight:
    """What one optimizer holds of one weight.

    Attributes:
        shard: The weight, as a part of the full one.
        first: Its first element that the optimizer holds; others are with other data-parallel ranks.
        main: The main weight from there on: fp32 [n].
        copy: What the model computes with: bf16 [n], memory of the model; None of weights that it holds in FP8.
    """

    shard: Shard
    first: int
    main: torch.Tensor
    copy: torch.Tensor | None


def optimizer_parts(optimizer: MegatronOptimizer) -> list[Any]:
    """The optimizers that are chained, of which some may hold nothing."""
    parts = getattr(optimizer, "chained_optimizers", [optimizer])
    return [part for part in parts if not getattr(part, "is_stub_optimizer", False)]


def main_weights(part: Any, model: Model) -> Iterator[MainWeight]:
    """The main weights of one optimizer, each with its copy; of weights in fp32 there are none."""
    shards = {shard.parameter: shard for shard in iterate_shards(model.chunks, model.architecture, model.context)}
    shared = isinstance(part, DistributedOptimizer)
    for weight, main in _shared_pairs(part) if shared else _whole_pairs(part):
        span = part._get_model_param_range_map(weight)["param"] if shared else None
        first, last = (0, weight.numel()) if span is None else (span.start, span.end)
        copy = None if is_float8tensor(weight) else weight.detach().view(-1)[first:last]
        yield MainWeight(shard=shards[weight], first=first, main=main.detach().view(-1), copy=copy)


def _whole_pairs(part: Any) -> Iterator[tuple[Any, torch.Tensor]]:
    for weights, mains in zip(part.float16_groups, part.fp32_from_float16_groups, strict=True):
        yield from zip(weights, mains, strict=True)


def _shared_pairs(part: Any) -> Iterator[tuple[Any, torch.Tensor]]:
    groups = zip(part.model_float16_groups, part.shard_float16_groups, part.shard_fp32_from_float16_groups, strict=True)
    for weights, copies, mains in groups:
        for weight, copy, main in zip(weights, copies, mains, strict=True):
            # Under optimizer_offload_fraction the main weights are the inner optimizer's own, on either device.
            yield weight, part.optimizer.param_to_fp32_param[copy] if main is None else main


def with_random_bits(
    weights: Iterable[MainWeight], purpose: str, change: Callable[[MainWeight, slice, torch.Tensor], None]
) -> int:
    """Calls `change` for block after block of main weights.

    Args:
        weights: Those to be changed.
        purpose: What the bits are for: a seed, and whatever else tells these draws from others.
        change: Is given a weight, a range of elements of what the optimizer holds of it, and their bits: int16 [n],
            its own. It is never called twice for an element.

    Returns:
        How many elements there were, without padding.
    """
    changed = 0
    for block in _blocks(weights, purpose):
        start = block.place.first - block.weight.first
        change(block.weight, slice(start, start + block.place.count), _bits(block))
        changed += block.place.count
    return changed


@dataclass(frozen=True)
class _Block:
    """What is changed at once."""

    weight: MainWeight
    key: int
    place: Rectangle


def _blocks(weights: Iterable[MainWeight], purpose: str) -> Iterator[_Block]:
    for weight in weights:
        key, at_once = key_of(purpose, weight.shard.name), _elements_at_once(weight.main.device)
        for place in places(weight.shard, weight.first, weight.first + weight.main.numel(), at_once):
            yield _Block(weight, key, place)


def _elements_at_once(device: torch.device) -> int:
    return torch.get_num_threads() * _AT_ONCE_A_THREAD if device.type == "cpu" else _AT_ONCE_ON_A_GPU


def _bits(block: _Block) -> torch.Tensor:
    """int16 [n]"""
    place, device = block.place, block.weight.main.device
    (row, column), (rows, columns) = (*place.offsets, 0)[:2], (*place.sizes, 1)[:2]
    return random_bits(block.key, (row, column), (rows, columns), (*place.full_shape, 1)[1], device).reshape(-1)
