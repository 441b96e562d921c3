"""Puts a micro-batch of rows where this rank computes: its share of the sequence, its device."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from megatron.core.packed_seq_params import PackedSeqParams

from megatron_redone.distributed.context import ParallelContext
from megatron_redone.distributed.context_parallel import share_of_row, share_of_segments, take_places
from megatron_redone.distributed.row_layout import RowLayout
from megatron_redone.objectives.objective import Batch


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A micro-batch on this rank: L = S / context ranks tokens of each of B rows, more where segments are padded.

    Attributes:
        places: int64 [L], which places of the whole row these are; `PADDING` for none.
        tokens: int64 [B, L].
        labels: int64 [B, L].
        loss_mask: float32 [B, L], 0 or 1.
        position_ids: int64 [B, L].
        layout: What attention must know beyond that.
    """

    places: torch.Tensor
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
    places, layout = _kernel_layout(batch, context) if kernel else _layout(batch, context)

    def place(name: str) -> torch.Tensor:
        whole = batch[name]
        mine = whole if context.config.context_parallel_size == 1 else take_places(whole, places)
        return mine.to(context.device, non_blocking=True)

    return Rows(
        places=places,
        tokens=place("tokens"),
        labels=place("labels"),
        loss_mask=place("loss_mask"),
        position_ids=place("position_ids"),
        layout=layout,
    )


def _layout(batch: Batch, context: ParallelContext) -> tuple[torch.Tensor, RowLayout | None]:
    size = context.config.context_parallel_size
    places = share_of_row(batch["tokens"].shape[1], context.context_rank, size)
    borders = _borders(batch) if "cu_seqlens" in batch else None
    if borders is None and size == 1:
        return places, None
    prefixes = [(a, b) for a, b in batch["prefixes"].tolist()] if "prefixes" in batch else []
    return places, RowLayout(
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


def _kernel_layout(batch: Batch, context: ParallelContext) -> tuple[torch.Tensor, PackedSeqParams | None]:
    size, length = context.config.context_parallel_size, batch["tokens"].shape[1]
    if "cu_seqlens" not in batch:
        expected = torch.arange(length)
        assert (batch["position_ids"] == expected).all(), "this backend counts positions from 0 in every row"
        return share_of_row(length, context.context_rank, size), None
    assert "prefixes" not in batch or not batch["prefixes"].any(), "Transformer Engine's kernel knows no prefixes"
    places, borders = share_of_row(length, 0, 1), _borders(batch)
    if size > 1:
        # Sequence parallelism shares what a rank holds among the tensor-parallel ones; FP8's products take tokens by
        # 16, and by 32 under mxfp8: an even number of sixteens is a rank's.
        sharing = 16 * (context.config.tensor_model_parallel_size if context.config.sequence_parallel else 1)
        places, borders = share_of_segments(borders, context.context_rank, size, sharing)
    longest = max(b - a for a, b in pairwise(borders))
    edges = torch.tensor(borders, dtype=torch.int32, device=context.device)
    # Under context parallelism the kernel asks where segments begin in the padded row, and takes no for an error.
    padded = edges if size > 1 else None
    return places, PackedSeqParams(
        qkv_format="thd",
        cu_seqlens_q=edges,
        cu_seqlens_kv=edges,
        max_seqlen_q=longest,
        max_seqlen_kv=longest,
        cu_seqlens_q_padded=padded,  # type: ignore[arg-type]
        cu_seqlens_kv_padded=padded,  # type: ignore[arg-type]
    )
