"""Of which rows of which Hugging Face tensors a full weight consists, from the top to the bottom.

That serves both directions: a part of a full weight is read from those rows, and a tensor is written from
the parts of full weights that name it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from megatron_redone.architectures.architecture import Architecture


@dataclass(frozen=True)
class TensorRows:
    """Rows `first` to `last` (one past) of a tensor of a Hugging Face checkpoint."""

    name: str
    first: int
    last: int


class Mapping(Protocol):
    """How one full weight is put together."""

    @property
    def blocks(self) -> int:
        """How many blocks of rows lie above each other; tensor parallelism splits each of them by itself."""
        ...

    def rows(self, name: str, architecture: Architecture) -> Iterator[TensorRows]:
        """The rows that make up the full weight, in order.

        Args:
            name: Of the tensor, as the table gives it; what several tensors differ in is `{}`.
            architecture: Sizes.
        """
        ...


@dataclass(frozen=True)
class Direct:
    """One tensor as it is, with as many rows as the named size."""

    size: str
    blocks: int = 1

    def rows(self, name: str, architecture: Architecture) -> Iterator[TensorRows]:
        yield TensorRows(name, 0, getattr(architecture, self.size))


@dataclass(frozen=True)
class PaddedVocabulary:
    """One row a token id. A checkpoint of a run may hold more rows, which are padding; Hugging Face has none."""

    blocks: int = 1

    def rows(self, name: str, architecture: Architecture) -> Iterator[TensorRows]:
        yield TensorRows(name, 0, architecture.vocab_size)


@dataclass(frozen=True)
class TiedOutput:
    """The output layer: rows of its own, or none where the embedding serves for it."""

    blocks: int = 1

    def rows(self, name: str, architecture: Architecture) -> Iterator[TensorRows]:
        if not architecture.tie_word_embeddings:
            yield TensorRows(name, 0, architecture.vocab_size)


@dataclass(frozen=True)
class InterleavedQKV:
    """Group by group: the query heads that share a key, that key, its value."""

    blocks: int = 1

    def rows(self, name: str, architecture: Architecture) -> Iterator[TensorRows]:
        size, groups = architecture.head_dim, architecture.num_key_value_heads
        queries = architecture.num_attention_heads // groups * size
        for group in range(groups):
            for kind, rows in (("q", queries), ("k", size), ("v", size)):
                yield TensorRows(name.format(kind), group * rows, (group + 1) * rows)


@dataclass(frozen=True)
class GateAboveUp:
    """The gate's rows, then those it is multiplied with."""

    blocks: int = 2

    def rows(self, name: str, architecture: Architecture) -> Iterator[TensorRows]:
        for kind in ("gate", "up"):
            yield TensorRows(name.format(kind), 0, architecture.intermediate_size)
