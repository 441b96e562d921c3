"""Puts a micro-batch of rows where this rank computes: its share of the sequence, its device."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from megatron.core.packed_seq_params import PackedSeqParams

from megatron_redone.distributed.context import ParallelContext
from megatron_redone.distributed.context_parallel import split_sequence
from megatron_redone.distributed.row_layout import RowLayout
from megatron_redone.errors import UserError
from megatron_redone.objectives.objective import Batch


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A micro-batch on this rank: L = S / context ranks tokens of each of B rows.

    Attributes:
        tokens: int64 [B, L].
        labels: int64 [B, L].
        loss_mask: float32 [B, L], 0 or 1.
        position_ids: int64 [B, L].
        layout: What attention must know beyond that.
    """

    tokens: torch.Tensor
    labels: torch.Tensor
    loss_mask: torch.Tensor
    position_ids: torch.Tensor
    layout: PackedSeqParams | None


def place_rows(batch: Batch, context: ParallelContext, kernel: bool = False) -> Rows:
    """Splits and moves a micro-batch.

    Args:
        batch: As `LanguageModelling` describes it, whole and on the CPU.
        context: This rank's place.
        kernel: Whether attention is Transformer Engine's; then rows are packed in its format.
    """
    layout = _kernel_layout(batch, context) if kernel else _layout(batch, context)

    def place(name: str) -> torch.Tensor:
        mine = split_sequence(batch[name], context.context_rank, context.config.context_parallel_size)
        return mine.to(context.device, non_blocking=True)

    return Rows(
        tokens=place("tokens"),
        labels=place("labels"),
        loss_mask=place("loss_mask"),
        position_ids=place("position_ids"),
        layout=layout,
    )


def check_isolation(context: ParallelContext, kernel: bool) -> None:
    """Refuses packed rows where segments could see each other."""
    if kernel and context.config.context_parallel_size > 1:
        raise UserError(
            "packed rows under context_parallel_size > 1 need backend=torch: Transformer Engine's kernel wants every "
            "segment padded for it"
        )


def _layout(batch: Batch, context: ParallelContext) -> RowLayout | None:
    size = context.config.context_parallel_size
    borders = _borders(batch) if "cu_seqlens" in batch else None
    if borders is None and size == 1:
        return None
    prefixes = [(a, b) for a, b in batch["prefixes"].tolist()] if "prefixes" in batch else []
    return RowLayout(
        borders=borders,
        prefixes=prefixes if any(a < b for a, b in prefixes) else None,
        context_rank=context.context_rank,
        context_size=size,
    )


def _borders(batch: Batch) -> list[int]:
    borders = batch["cu_seqlens"].tolist()
    rows, length = batch["tokens"].shape
    assert rows == 1, "a packed micro-batch is one row"
    assert borders[0] == 0 and borders[-1] == length and borders == sorted(borders), "segments must cover the row"
    return borders


def _kernel_layout(batch: Batch, context: ParallelContext) -> PackedSeqParams | None:
    if "cu_seqlens" not in batch:
        expected = torch.arange(batch["tokens"].shape[1])
        assert (batch["position_ids"] == expected).all(), "this backend counts positions from 0 in every row"
        return None
    check_isolation(context, kernel=True)
    assert "prefixes" not in batch or not batch["prefixes"].any(), "Transformer Engine's kernel knows no prefixes"
    borders = _borders(batch)
    longest = max(b - a for a, b in pairwise(borders))
    edges = batch["cu_seqlens"].to(context.device, torch.int32)
    return PackedSeqParams(
        qkv_format="thd", cu_seqlens_q=edges, cu_seqlens_kv=edges, max_seqlen_q=longest, max_seqlen_kv=longest
    )
