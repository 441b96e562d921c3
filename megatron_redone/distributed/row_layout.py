"""Where the documents of a packed row begin and end, and what attention needs to keep them apart."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from megatron.core.packed_seq_params import PackedSeqParams

from megatron_redone.distributed.context_parallel import chunks_of


@dataclass
class RowLayout(PackedSeqParams):
    """How the rows of one micro-batch are laid out; travels through megatron-core to the core attention.

    It says `sbhd`, so that megatron-core leaves rows as they are: its own packed format would rotate by
    segment and ask for padding of every segment under context parallelism.

    Attributes:
        cu_seqlens: Where segments begin and end (cumulative lengths), n + 1 numbers from 0 to the row's length;
            None where the whole row is one.
        prefixes: For each segment where another one begins and ends that it may look at too, 0 and 0 for none;
            None where no segment has one.
        context_rank: Which chunks of the row this rank holds.
        context_size: Among how many ranks the row is shared.
        cache: The `KeyValueCache` of what the model has read already, where an answer is being written; without
            segments and context parallelism.
        masks: Kept over the layers of a micro-batch.
        segment_masks: Likewise.
    """

    qkv_format: str | None = "sbhd"  # type: ignore[assignment]
    cu_seqlens: list[int] | None = None
    prefixes: list[tuple[int, int]] | None = None
    context_rank: int = 0
    context_size: int = 1
    cache: Any = field(default=None, repr=False)
    masks: dict[tuple[int, torch.device], "ChunkMask"] = field(default_factory=dict, repr=False)
    segment_masks: dict[tuple[int, int, torch.device], torch.Tensor] = field(default_factory=dict, repr=False)

    @cached_property
    def segments(self) -> list["Segment"]:
        """The segments that have tokens, in the order of the row."""
        assert self.cu_seqlens is not None
        spans = list(pairwise(self.cu_seqlens))
        prefixes = self.prefixes or [(0, 0)] * len(spans)
        return [Segment(*span, *prefix) for span, prefix in zip(spans, prefixes, strict=True) if span[0] < span[1]]

    def segment_mask(self, segment: "Segment", device: torch.device) -> torch.Tensor:
        """What the queries of a segment with a prefix may look at: bool [queries, prefix and segment]."""
        key = (segment.begin, segment.end, device)
        if key not in self.segment_masks:
            queries = torch.arange(segment.end - segment.begin, device=device)
            keys = torch.arange(segment.prefix_begin - segment.prefix_end, len(queries), device=device)
            self.segment_masks[key] = keys <= queries[:, None]
        return self.segment_masks[key]

    def chunk_masks(self, length: int, device: torch.device) -> list["ChunkMask"]:
        """What each of this rank's two chunks of a row of `length` tokens may look at."""
        return [self._chunk_mask(chunk, length, device) for chunk in chunks_of(self.context_rank, self.context_size)]

    def _chunk_mask(self, chunk: int, length: int, device: torch.device) -> "ChunkMask":
        if (chunk, device) not in self.masks:
            self.masks[chunk, device] = chunk_mask(
                chunk, length // (2 * self.context_size), self.cu_seqlens, device, self.prefixes
            )
        return self.masks[chunk, device]


@dataclass(frozen=True)
class Segment:
    """Positions from `begin` to before `end` of a row, which see each other and an earlier segment, the prefix."""

    begin: int
    end: int
    prefix_begin: int = 0
    prefix_end: int = 0

    @property
    def has_prefix(self) -> bool:
        """Whether there is anything to see besides the segment itself."""
        return self.prefix_begin < self.prefix_end


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


def chunk_mask(
    chunk: int,
    size: int,
    cu_seqlens: list[int] | None,
    device: torch.device,
    prefixes: list[tuple[int, int]] | None = None,
) -> ChunkMask:
    """The causal mask of chunk number `chunk` of `size` tokens, with segments kept apart but for their prefixes."""
    begin, end = chunk * size, (chunk + 1) * size
    if cu_seqlens is None:
        queries, keys = torch.arange(begin, end, device=device), torch.arange(end, device=device)
        return ChunkMask(0, end, keys <= queries[:, None])
    # What is one number a query is found on the host, which so waits for no device.
    edges = torch.tensor(cu_seqlens)
    numbers = torch.searchsorted(edges, torch.arange(begin, end), right=True) - 1
    starts, first = edges[numbers], int(edges[numbers[0]])
    if prefixes is None:
        return ChunkMask(first, end, _own_segment(first, begin, end, starts, device))
    seen = torch.tensor(prefixes)[numbers]
    first = min([first, *(int(a) for a, b in seen.tolist() if a < b)])
    own, keys, seen = (
        _own_segment(first, begin, end, starts, device),
        torch.arange(first, end, device=device),
        _there(seen, device),
    )
    return ChunkMask(first, end, own | ((keys >= seen[:, :1]) & (keys < seen[:, 1:])))


def _own_segment(first: int, begin: int, end: int, starts: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Which keys from `first` on each query from `begin` on sees of its own segment: bool [queries, keys]."""
    queries, keys = torch.arange(begin, end, device=device), torch.arange(first, end, device=device)
    return (keys <= queries[:, None]) & (keys >= _there(starts, device)[:, None])


def _there(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
