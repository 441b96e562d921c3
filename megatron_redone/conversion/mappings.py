"""How a full weight is put together from tensors of a Hugging Face checkpoint.

A mapping says of which rows of which tensors a full weight consists, from the top to the bottom. That
serves both directions: a part of a full weight is read from those rows, and a tensor is written from
the parts of full weights that name it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from megatron_redone.models.architecture import Architecture


@dataclass(frozen=True)
class Piece:
    """Rows `first` to `last` (one past) of a tensor of a Hugging Face checkpoint."""

    name: str
    first: int
    last: int


class Mapping(Protocol):
    """One row of a family's table."""

    def pieces(self, name: str, architecture: Architecture) -> Iterator[Piece]:
        """The rows that make up the full weight, in order.

        Args:
            name: Of the tensor, as the table gives it; what several tensors differ in is `{}`.
            architecture: Sizes.
        """
        ...


@dataclass(frozen=True)
class Direct:
    """One tensor as it is, with as many rows as the named size."""

    rows: str

    def pieces(self, name: str, architecture: Architecture) -> Iterator[Piece]:
        yield Piece(name, 0, getattr(architecture, self.rows))


@dataclass(frozen=True)
class PaddedVocabulary:
    """One row a token id. A checkpoint of a run may hold more rows, which are padding; Hugging Face has none."""

    def pieces(self, name: str, architecture: Architecture) -> Iterator[Piece]:
        yield Piece(name, 0, architecture.vocab_size)


@dataclass(frozen=True)
class TiedOutput:
    """The output layer: rows of its own, or none where the embedding serves for it."""

    def pieces(self, name: str, architecture: Architecture) -> Iterator[Piece]:
        if not architecture.tie_word_embeddings:
            yield Piece(name, 0, architecture.vocab_size)


@dataclass(frozen=True)
class InterleavedQKV:
    """Group by group: the query heads that share a key, that key, its value."""

    def pieces(self, name: str, architecture: Architecture) -> Iterator[Piece]:
        size, groups = architecture.head_dim, architecture.num_key_value_heads
        queries = architecture.num_attention_heads // groups * size
        for group in range(groups):
            for kind, rows in (("q", queries), ("k", size), ("v", size)):
                yield Piece(name.format(kind), group * rows, (group + 1) * rows)


@dataclass(frozen=True)
class GateAboveUp:
    """The gate's rows, then those it is multiplied with."""

    def pieces(self, name: str, architecture: Architecture) -> Iterator[Piece]:
        for kind in ("gate", "up"):
            yield Piece(name.format(kind), 0, architecture.intermediate_size)


@dataclass(frozen=True, kw_only=True)
class FullWeight:
    """One full weight (`models/shards.py`) in terms of Hugging Face's tensors.

    Attributes:
        key: Its checkpoint key.
        columns: The sizes behind the rows: one for a matrix, none for a vector.
        pieces: Its rows, in order.
        padded: Whether a checkpoint may hold rows of padding after them.
    """

    key: str
    columns: tuple[int, ...]
    pieces: tuple[Piece, ...]
    padded: bool

    @property
    def rows(self) -> int:
        """Rows without padding."""
        return sum(piece.last - piece.first for piece in self.pieces)

    @property
    def shape(self) -> tuple[int, ...]:
        """Without padding."""
        return (self.rows, *self.columns)

    def placed(self) -> Iterator[tuple[int, Piece]]:
        """Every piece with the row of the full weight at which it begins."""
        at = 0
        for piece in self.pieces:
            yield at, piece
            at += piece.last - piece.first

    def cut(self, first: int, last: int) -> Iterator[Piece]:
        """The pieces that rows `first` to `last` of the full weight consist of."""
        for at, piece in self.placed():
            begin, end = max(first, at), min(last, at + piece.last - piece.first)
            if begin < end:
                yield Piece(piece.name, piece.first + begin - at, piece.first + end - at)


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


def hf_tensors(weight: FullWeight) -> Iterator[HFTensor]:
    """The tensors of a Hugging Face checkpoint that a full weight holds."""
    for name in dict.fromkeys(piece.name for piece in weight.pieces):
        parts = sorted((piece.first, piece.last, at) for at, piece in weight.placed() if piece.name == name)
        assert parts[0][0] == 0 and all(a[1] == b[0] for a, b in pairwise(parts)), "rows are missing"
        yield HFTensor(
            name=name,
            shape=(parts[-1][1], *weight.columns),
            weight=weight,
            ranges=tuple((at, at + last - first) for first, last, at in parts),
        )
