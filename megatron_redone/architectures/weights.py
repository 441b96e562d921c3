"""The full weights of a model: their shapes, how tensor parallelism splits them, and the tensors they are made of.

Full weights go by checkpoint keys (`decoder.layers.3.mlp.linear_fc1.weight`, the layer counted over the whole
model), have megatron-core's arrangement (query, key and value interleaved by group; gate above up) and no
vocabulary padding. They are the same for every parallel layout and backend.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from megatron_redone.architectures.architecture import Architecture
from megatron_redone.architectures.families import BOTTOM, FAMILIES, TOP, TableRow
from megatron_redone.architectures.mappings import PaddedVocabulary, TensorRows, TiedOutput


@dataclass(frozen=True, kw_only=True)
class FullWeight:
    """One full weight in terms of Hugging Face's tensors.

    Attributes:
        key: Its checkpoint key.
        columns: The sizes behind the rows: one for a matrix, none for a vector.
        parts: Its rows, in order.
        padded: Whether a checkpoint may hold rows of padding after them.
        split: The dimension that tensor parallelism splits; None for what every rank holds whole.
        blocks: How many blocks of rows lie above each other, of which each is split by itself.
    """

    key: str
    columns: tuple[int, ...]
    parts: tuple[TensorRows, ...]
    padded: bool
    split: int | None
    blocks: int

    @property
    def rows(self) -> int:
        """Rows without padding."""
        return sum(part.last - part.first for part in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Without padding."""
        return (self.rows, *self.columns)

    def placed(self) -> Iterator[tuple[int, TensorRows]]:
        """Every part with the row of the full weight at which it begins."""
        at = 0
        for part in self.parts:
            yield at, part
            at += part.last - part.first

    def cut(self, first: int, last: int) -> Iterator[TensorRows]:
        """What rows `first` to `last` of the full weight consist of."""
        for at, part in self.placed():
            begin, end = max(first, at), min(last, at + part.last - part.first)
            if begin < end:
                yield TensorRows(part.name, part.first + begin - at, part.first + end - at)


@dataclass(frozen=True, kw_only=True)
class HFTensor:
    """One tensor of a Hugging Face checkpoint in terms of a full weight.

    Attributes:
        name: Its name there.
        shape: Its shape there.
        weight: The full weight that holds it.
        ranges: First and one-past-last row in the full weight of each part, from the top of the tensor to its bottom.
    """

    name: str
    shape: tuple[int, ...]
    weight: FullWeight
    ranges: tuple[tuple[int, int], ...]


def full_weights(architecture: Architecture) -> dict[str, FullWeight]:
    """Every full weight of a model by its checkpoint key, from the embedding to the output layer."""
    return {weight.key: weight for weight in _iterate(architecture) if weight.parts}


def family_tensors(architecture: Architecture) -> list[HFTensor]:
    """Every tensor that a Hugging Face checkpoint of the model holds, in the order of its layers."""
    return [tensor for weight in full_weights(architecture).values() for tensor in hf_tensors(weight)]


def hf_tensors(weight: FullWeight) -> Iterator[HFTensor]:
    """The tensors of a Hugging Face checkpoint that a full weight holds."""
    for name in dict.fromkeys(part.name for part in weight.parts):
        spans = sorted((part.first, part.last, at) for at, part in weight.placed() if part.name == name)
        assert spans[0][0] == 0 and all(a[1] == b[0] for a, b in pairwise(spans)), "rows are missing"
        yield HFTensor(
            name=name,
            shape=(spans[-1][1], *weight.columns),
            weight=weight,
            ranges=tuple((at, at + last - first) for first, last, at in spans),
        )


def _iterate(architecture: Architecture) -> Iterator[FullWeight]:
    layer = FAMILIES[architecture.model_type].layer
    for key, row in TOP.items():
        yield _weight(key, row.name, row, architecture)
    for number in range(architecture.num_hidden_layers):
        for key, row in layer.items():
            yield _weight(f"decoder.layers.{number}.{key}", f"model.layers.{number}.{row.name}", row, architecture)
    for key, row in BOTTOM.items():
        yield _weight(key, row.name, row, architecture)


def _weight(key: str, name: str, row: TableRow, architecture: Architecture) -> FullWeight:
    return FullWeight(
        key=key,
        columns=() if row.columns is None else (getattr(architecture, row.columns),),
        parts=tuple(row.mapping.rows(name, architecture)),
        padded=isinstance(row.mapping, (PaddedVocabulary, TiedOutput)),
        split=row.split,
        blocks=row.mapping.blocks,
    )
