"""Which part of a model's full weights this rank holds.

Full weights go by checkpoint keys (`decoder.layers.3.mlp.linear_fc1.weight`, the layer counted over the
whole model), have megatron-core's arrangement (query, key and value interleaved by group; gate above up)
and no vocabulary padding. They are the same for every layout and backend.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_redone.distributed.context import ParallelContext
from megatron_redone.models.architecture import Architecture
from megatron_redone.models.backends import CHECKPOINT_KEYS
from megatron_redone.models.set_weight import set_weight

EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"

# The dimension that tensor parallelism splits; what is not named here is held whole by every rank.
_SPLIT_DIMENSION = {
    EMBEDDING: 0,
    OUTPUT: 0,
    "linear_qkv.weight": 0,
    "linear_qkv.bias": 0,
    "linear_fc1.weight": 0,
    "linear_proj.weight": 1,
    "linear_fc2.weight": 1,
}


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


def iterate_shards(chunks: Sequence[GPTModel], architecture: Architecture, context: ParallelContext) -> Iterator[Shard]:
    """Every parameter of this rank's pieces. The tied embedding appears on the first and the last stage."""
    for chunk in chunks:
        for local_name, parameter in chunk.named_parameters():
            name = full_name(chunk, local_name, architecture.tie_word_embeddings)
            yield _shard(name, parameter, architecture, context)


def load_full_weights(
    chunks: Sequence[GPTModel], full: Mapping[str, torch.Tensor], architecture: Architecture, context: ParallelContext
) -> None:
    """Copies this rank's part of full weights into its pieces, before an optimizer is built over them."""
    for shard in iterate_shards(chunks, architecture, context):
        shard.fill(shard.take(full[shard.name]))


def full_name(chunk: GPTModel, local_name: str, tied: bool) -> str:
    """The checkpoint key of a parameter of one piece."""
    if local_name == OUTPUT and tied:
        return EMBEDDING
    parts = local_name.split(".")
    if parts[:2] != ["decoder", "layers"]:
        return local_name
    layer = chunk.decoder.layers[int(parts[2])]
    parts[2] = str(int(layer.layer_number) - 1)  # type: ignore[arg-type]
    name = ".".join(parts)
    for ours, key in CHECKPOINT_KEYS.items():
        name = name.replace(f".{ours}", f".{key}")
    return name


def _shard(name: str, parameter: torch.nn.Parameter, architecture: Architecture, context: ParallelContext) -> Shard:
    size, rank = context.config.tensor_model_parallel_size, context.tensor_rank
    dim = next((dim for suffix, dim in _SPLIT_DIMENSION.items() if name.endswith(suffix)), None)
    shape = list(parameter.shape)
    if dim is None:
        return Shard(name=name, parameter=parameter, full_shape=tuple(shape), dim=None, ranges=())
    local = shape[dim]
    ranges = [(rank * local, (rank + 1) * local)]
    shape[dim] = size * local
    if name in (EMBEDDING, OUTPUT):
        shape[0] = architecture.vocab_size
        ranges = [(min(first, shape[0]), min(last, shape[0])) for first, last in ranges]
    elif name.endswith("linear_fc1.weight"):
        half = local // 2
        ranges = [(start + rank * half, start + (rank + 1) * half) for start in (0, size * half)]
    return Shard(name=name, parameter=parameter, full_shape=tuple(shape), dim=dim, ranges=tuple(ranges))
