"""The borders of the documents in a packed row, and what attention needs to keep them apart."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from megatron.core.packed_seq_params import PackedSeqParams

from megatron_redone.distributed.context_parallel import chunks_of


@dataclass
class RowLayout(PackedSeqParams):
    """How the rows of one micro-batch are laid out; travels through megatron-core to the core attention.

    It says `sbhd`, so that megatron-core leaves rows as they are: its own packed format would rotate by
    segment and ask for padding of every segment under context parallelism.

    Attributes:
        borders: Where segments begin and end, n + 1 numbers from 0 to the row's length; None where the
            whole row is one.
        context_rank: Which chunks of the row this rank holds.
        context_size: Among how many ranks the row is shared.
        masks: Kept over the layers of a micro-batch.
    """

    qkv_format: str | None = "sbhd"  # type: ignore[assignment]
    borders: list[int] | None = None
    context_rank: int = 0
    context_size: int = 1
    masks: dict[tuple[int, torch.device], "ChunkMask"] = field(default_factory=dict, repr=False)

    @cached_property
    def segments(self) -> list[tuple[int, int]]:
        """First and one-past-last position of each segment that has tokens."""
        assert self.borders is not None
        return [(a, b) for a, b in pairwise(self.borders) if a < b]

    def chunk_masks(self, length: int, device: torch.device) -> list["ChunkMask"]:
        """What each of this rank's two chunks of a row of `length` tokens may look at."""
        return [self._chunk_mask(chunk, length, device) for chunk in chunks_of(self.context_rank, self.context_size)]

    def _chunk_mask(self, chunk: int, length: int, device: torch.device) -> "ChunkMask":
        if (chunk, device) not in self.masks:
            self.masks[chunk, device] = chunk_mask(chunk, length // (2 * self.context_size), self.borders, device)
        return self.masks[chunk, device]


@dataclass(frozen=True)
class ChunkMask:
    """What the queries of one chunk may look at.

    Attributes:
        first: The first key that any of them may look at.
        last: One past the last.
        allowed: bool [queries, last - first]; true where a query may look.
    """

    first: int
    last: int
    allowed: torch.Tensor


def chunk_mask(chunk: int, size: int, borders: list[int] | None, device: torch.device) -> ChunkMask:
    """The causal mask of chunk number `chunk` of `size` tokens, with segments kept apart."""
    begin, end = chunk * size, (chunk + 1) * size
    queries = torch.arange(begin, end, device=device)
    starts = torch.zeros_like(queries)
    if borders is not None:
        edges = torch.tensor(borders, device=device)
        starts = edges[torch.searchsorted(edges, queries, right=True) - 1]
    first = int(starts[0])
    keys = torch.arange(first, end, device=device)
    return ChunkMask(first, end, (keys <= queries[:, None]) & (keys >= starts[:, None]))
