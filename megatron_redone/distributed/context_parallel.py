"""Shares a sequence over ranks, and brings keys and values together for attention.

A row of S tokens is cut into 2C chunks for C ranks; rank r holds chunks r and 2C-1-r. Under causal
attention every rank then has the same amount of work: an early chunk and a late one.
Transformer Engine's kernel for packed rows wants every segment cut so by itself, which is first padded for it.

Shapes: B batch, S tokens of the whole row, L = S/C tokens of this rank, G heads, D head size.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist

PADDING = -1


def chunks_of(rank: int, size: int) -> tuple[int, int]:
    """The two chunks, out of `2 * size`, that a rank holds."""
    return rank, 2 * size - 1 - rank


def split_sequence(tensor_BS: torch.Tensor, rank: int, size: int) -> torch.Tensor:
    """The tokens of one rank.

    Args:
        tensor_BS: [B, S] of any type, the same on all ranks.
        rank: The context-parallel rank.
        size: The number of ranks.

    Returns:
        [B, L], contiguous.
    """
    if size == 1:
        return tensor_BS
    slices = tensor_BS.chunk(2 * size, dim=1)
    assert len(slices) == 2 * size and tensor_BS.shape[1] % (2 * size) == 0
    return torch.cat([slices[chunk] for chunk in chunks_of(rank, size)], dim=1)


def slots_of_row(length: int, rank: int, size: int) -> torch.Tensor:
    """The slots of a row that a rank holds, int64 [L]."""
    return split_sequence(torch.arange(length)[None], rank, size)[0]


def slots_of_segments(
    cu_seqlens: list[int], rank: int, size: int, total_multiple: int = 1
) -> tuple[torch.Tensor, list[int]]:
    """The slots of a packed row that a rank holds where each segment is padded and divided over the ranks by itself.

    Args:
        cu_seqlens: Where segments begin and end, n + 1 numbers from 0 to the row's length.
        rank: The context-parallel rank.
        size: The number of ranks.
        total_multiple: What the padded row's length is to be a multiple of, besides `2 * size`.

    Returns:
        Slots of the row, int64 [L], with `PADDING` where a segment is padded; and cu_seqlens of the padded
        segments, of all ranks together. Padding lies behind a segment's tokens, which therefore do not see it; a
        segment of padding alone may come last.
    """
    unit, parts, padded = 2 * size, [], [0]
    for begin, end in pairwise(cu_seqlens):
        if begin < end:
            parts.append(_padded_part(begin, end, _up(end - begin, unit), rank, size))
            padded.append(padded[-1] + _up(end - begin, unit))
    rest = _up(padded[-1], unit * total_multiple) - padded[-1]
    if rest:
        parts.append(torch.full((rest // size,), PADDING))
        padded.append(padded[-1] + rest)
    return torch.cat(parts), padded


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def _padded_part(begin: int, end: int, length: int, rank: int, size: int) -> torch.Tensor:
    slots = begin + slots_of_row(length, rank, size)
    return slots.masked_fill(slots >= end, PADDING)


def take_slots(tensor_BS: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """What stands in given slots of rows: [B, S] and int64 [L] to [B, L], zero for `PADDING`."""
    return tensor_BS[:, slots.clamp(min=0)] * (slots != PADDING)


def gather_sequence(tensor_LBGD: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """The keys or values of the whole row, in the order of the row.

    The backward pass sums what all ranks send back (reduce-scatter).

    Args:
        tensor_LBGD: [L, B, G, D], this rank's tokens.
        group: The context-parallel group.

    Returns:
        [S, B, G, D].
    """
    return _GatherSequence.apply(tensor_LBGD, group)  # type: ignore[return-value]


class _GatherSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        ctx.group = group
        size = group.size()
        gathered = local.new_empty(size * local.shape[0], *local.shape[1:])
        dist.all_gather_into_tensor(gathered, local.contiguous(), group=group)
        early, late = gathered.view(size, 2, -1, *local.shape[1:]).unbind(1)
        return torch.cat([early, late.flip(0)]).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (grad,) = grads
        size = ctx.group.size()
        early, late = grad.view(2, size, -1, *grad.shape[1:]).unbind(0)
        by_rank = torch.stack([early, late.flip(0)], dim=1).contiguous()
        local = grad.new_empty(grad.shape[0] // size, *grad.shape[1:])
        dist.reduce_scatter_tensor(local, by_rank.view(-1, *grad.shape[1:]), group=ctx.group)
        return local, None
