"""Which part of a model's full weights this rank holds.

What full weights are, architectures/weights.py says.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_redone.architectures import Architecture
from megatron_redone.architectures.families import EMBEDDING, NORM_KEYS, OUTPUT
from megatron_redone.architectures.weights import FullWeight, full_weights
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.models.set_weight import set_weight


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One parameter of this rank, as a part of the full one.

    Attributes:
        name: The key of the full parameter.
        parameter: What this rank holds; rows past the end of the vocabulary are padding.
        full_shape: The shape of the full parameter.
        dim: The dimension that is split, or None.
        ranges: First and one-past-last index of each part along `dim`, in the order in which they lie here.
    """

    name: str
    parameter: torch.nn.Parameter
    full_shape: tuple[int, ...]
    dim: int | None
    ranges: tuple[tuple[int, int], ...]

    def take(self, full: torch.Tensor) -> torch.Tensor:
        """The part of a full parameter that belongs here, without padding."""
        assert tuple(full.shape) == self.full_shape, (self.name, tuple(full.shape), self.full_shape)
        if self.dim is None:
            return full
        return torch.cat([full.narrow(self.dim, first, last - first) for first, last in self.ranges], self.dim)

    @torch.no_grad()
    def fill(self, part: torch.Tensor) -> None:
        """Copies the part that belongs here into the parameter, and zero into padding."""
        rows = part.shape[0]
        if rows == self.parameter.shape[0]:
            set_weight(self.parameter, part)  # an FP8 parameter cannot be written in parts
            return
        self.parameter[:rows].copy_(part)
        self.parameter[rows:].zero_()


def iterate_shards(
    model_chunks: Sequence[GPTModel], architecture: Architecture, context: ParallelContext
) -> Iterator[Shard]:
    """Every parameter of this rank's model chunks. The tied embedding appears on the first and the last stage."""
    weights = full_weights(architecture)
    for chunk in model_chunks:
        for local_name, parameter in chunk.named_parameters():
            name = full_name(chunk, local_name, architecture.tie_word_embeddings)
            yield _shard(parameter, weights[name], context)


def load_full_weights(
    model_chunks: Sequence[GPTModel],
    full: Mapping[str, torch.Tensor],
    architecture: Architecture,
    context: ParallelContext,
) -> None:
    """Copies this rank's part of full weights into its model chunks, before an optimizer is built over them."""
    for shard in iterate_shards(model_chunks, architecture, context):
        shard.fill(shard.take(full[shard.name]))


def full_name(chunk: GPTModel, local_name: str, tied: bool) -> str:
    """The checkpoint key of a parameter of one model chunk."""
    if local_name == OUTPUT and tied:
        return EMBEDDING
    parts = local_name.split(".")
    if parts[:2] != ["decoder", "layers"]:
        return local_name
    layer = chunk.decoder.layers[int(parts[2])]
    parts[2] = str(int(layer.layer_number) - 1)  # type: ignore[arg-type]
    name = ".".join(parts)
    for ours, key in NORM_KEYS.items():
        name = name.replace(f".{ours}", f".{key}")
    return name


def _shard(parameter: torch.nn.Parameter, weight: FullWeight, context: ParallelContext) -> Shard:
    size, rank = context.config.tensor_model_parallel_size, context.tensor_rank
    ranges = _ranges(weight, parameter.shape, size, rank)
    _check_shape(parameter.shape, weight, size)
    return Shard(name=weight.key, parameter=parameter, full_shape=weight.shape, dim=weight.split, ranges=ranges)


def _ranges(weight: FullWeight, local_shape: Sequence[int], size: int, rank: int) -> tuple[tuple[int, int], ...]:
    """A rank's part of each block of rows; padded rows are no part of the full weight."""
    if weight.split is None:
        return ()
    each, whole = local_shape[weight.split] // weight.blocks, weight.shape[weight.split]
    spans = [((size * block + rank) * each, (size * block + rank + 1) * each) for block in range(weight.blocks)]
    return tuple((min(first, whole), min(last, whole)) for first, last in spans)


def _check_shape(local_shape: Sequence[int], weight: FullWeight, size: int) -> None:
    """The model that was built and the table of its family must speak of the same weight."""
    held = [count * (size if dim == weight.split else 1) for dim, count in enumerate(local_shape)]
    if weight.padded:
        held[0] = min(held[0], weight.rows)
    assert tuple(held) == weight.shape, (weight.key, tuple(local_shape), weight.shape)
