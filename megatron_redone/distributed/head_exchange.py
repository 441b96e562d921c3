"""Trades the tokens of all heads for all tokens of some heads, and back, among the ranks that share a row.

Each rank then attends over the whole row, as one process would, with its share of the heads: DeepSpeed Ulysses
(arXiv 2309.14509). A rank sends and receives its tokens' queries, keys, values and outputs once, however many ranks
there are.

Shapes: S tokens of the whole row, L = S/C tokens of this rank in the two chunks of `context_parallel.chunks_of`,
B rows, N heads, D head size; C ranks.
"""

from typing import Any

import torch
import torch.distributed as dist


def tokens_to_heads(tensor_LBND: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """[L, B, N, D] to [S, B, N/C, D], in the order of the row. C must divide N."""
    return _TokensToHeads.apply(tensor_LBND, group)  # type: ignore[return-value]


def heads_to_tokens(tensor_SBND: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """[S, B, N/C, D] to [L, B, N, D]: the way back."""
    return _HeadsToTokens.apply(tensor_SBND, group)  # type: ignore[return-value]


class _TokensToHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        ctx.group = group
        return _gather_tokens(tensor, group)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _gather_heads(grads[0], ctx.group), None


class _HeadsToTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        ctx.group = group
        return _gather_heads(tensor, group)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _gather_tokens(grads[0], ctx.group), None


def _gather_tokens(tensor: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    by_head = tensor.unflatten(2, (group.size(), -1)).movedim(2, 0)  # [C, L, B, N/C, D]
    chunks = _exchange(by_head, group).unflatten(1, (2, -1))  # [C, 2, L/2, B, N/C, D], of each rank an early and a late
    early, late = chunks.unbind(1)
    return torch.cat([early, late.flip(0)]).flatten(0, 1)


def _gather_heads(tensor: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    early, late = tensor.unflatten(0, (2, group.size(), -1)).unbind(0)  # [C, L/2, B, N/C, D] each
    by_head = _exchange(torch.stack([early, late.flip(0)], dim=1).flatten(1, 2), group)  # [C, L, B, N/C, D]
    return by_head.movedim(0, 2).flatten(2, 3)


def _exchange(by_rank: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """Sends part r of [C, ...] to rank r, and returns what each rank sent, in the order of ranks."""
    by_rank = by_rank.contiguous()
    received = torch.empty_like(by_rank)
    dist.all_to_all_single(received, by_rank, group=group)
    return received
