"""Puts a micro-batch where this rank computes: its part of the sequence, its device.

Shape legend: B rows, S tokens of a whole row, L tokens of it on this rank: S / context ranks, more where segments are
padded.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from megatron.core.packed_seq_params import PackedSeqParams

from megatron_redone.batches.micro_batch import MicroBatch, to_device
from megatron_redone.config.model import Backend
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.distributed.context_parallel import slots_of_row, slots_of_segments, take_slots
from megatron_redone.distributed.row_layout import RowLayout


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """A micro-batch on this rank.

    Attributes:
        whole: As it was read, on the CPU.
        batch: This rank's L slots of every row, on its device.
        slots: int64 [L], which slots of the whole row these are; `PADDING` for none. On the CPU.
        trained: int64 [n], the positions in the flattened [B, L] whose labels count, ascending; on the device. Its
            length was found on the CPU: nothing waits for the device.
        layout: What attention must know beyond that.
    """

    whole: MicroBatch
    batch: MicroBatch
    slots: torch.Tensor
    trained: torch.Tensor
    layout: PackedSeqParams | None


@dataclass(frozen=True)
class RowPlacer:
    """Places micro-batches for one rank of a model, whose backend says how packed rows are laid out.

    Attributes:
        tokens_multiple: What a rank's tokens must be a multiple of, where segments are padded.
    """

    context: ParallelContext
    backend: Backend
    tokens_multiple: int = 1

    def place(self, micro_batch: MicroBatch) -> Rows:
        """Splits and moves a whole micro-batch, which is on the CPU."""
        if self.backend is Backend.transformer_engine:
            slots, layout = _kernel_layout(micro_batch, self.context, self.tokens_multiple)
        else:
            slots, layout = _layout(micro_batch, self.context)
        mine = micro_batch if self.context.config.context_parallel_size == 1 else _take(micro_batch, slots)
        trained = mine.loss_mask.flatten().nonzero().squeeze(-1)
        device = self.context.device
        return Rows(
            whole=micro_batch,
            batch=mine.to(device),
            slots=slots,
            trained=to_device(trained, device),
            layout=layout,
        )


def _take(micro_batch: MicroBatch, slots: torch.Tensor) -> MicroBatch:
    """What stands at some slots of every row."""
    pairs = micro_batch.pairs
    return replace(
        micro_batch,
        tokens=take_slots(micro_batch.tokens, slots),
        labels=take_slots(micro_batch.labels, slots),
        loss_mask=take_slots(micro_batch.loss_mask, slots),
        position_ids=take_slots(micro_batch.position_ids, slots),
        pairs=None if pairs is None else replace(pairs, responses=take_slots(pairs.responses, slots)),
    )


def _layout(micro_batch: MicroBatch, context: ParallelContext) -> tuple[torch.Tensor, RowLayout | None]:
    size = context.config.context_parallel_size
    slots = slots_of_row(micro_batch.tokens.shape[1], context.context_rank, size)
    cu_seqlens = _checked_cu_seqlens(micro_batch)
    if cu_seqlens is None and size == 1:
        return slots, None
    prefixes = [] if micro_batch.pairs is None else [(a, b) for a, b in micro_batch.pairs.prefixes.tolist()]
    return slots, RowLayout(
        cu_seqlens=cu_seqlens,
        prefixes=prefixes if any(a < b for a, b in prefixes) else None,
        context_rank=context.context_rank,
        context_size=size,
    )


def _checked_cu_seqlens(micro_batch: MicroBatch) -> list[int] | None:
    if micro_batch.cu_seqlens is None:
        return None
    cu_seqlens = micro_batch.cu_seqlens.tolist()
    rows, length = micro_batch.tokens.shape
    assert rows == 1, "a packed micro-batch is one row"
    covers = cu_seqlens[0] == 0 and cu_seqlens[-1] == length and cu_seqlens == sorted(cu_seqlens)
    assert covers, "segments must cover the row"
    return cu_seqlens


def _kernel_layout(
    micro_batch: MicroBatch, context: ParallelContext, tokens_multiple: int
) -> tuple[torch.Tensor, PackedSeqParams | None]:
    """For Transformer Engine's attention, which has a packed format of its own."""
    size, length = context.config.context_parallel_size, micro_batch.tokens.shape[1]
    cu_seqlens = _checked_cu_seqlens(micro_batch)
    if cu_seqlens is None:
        expected = torch.arange(length)
        assert (micro_batch.position_ids == expected).all(), "this backend counts positions from 0 in every row"
        return slots_of_row(length, context.context_rank, size), None
    has_prefixes = micro_batch.pairs is not None and bool(micro_batch.pairs.prefixes.any())
    assert not has_prefixes, "Transformer Engine's kernel knows no prefixes"
    slots = slots_of_row(length, 0, 1)
    if size > 1:
        # FP8's products take a rank's tokens by a multiple: the padded row has two halves of it, of 16 at least, for
        # each context rank, and for each tensor-parallel one where sequence parallelism divides a rank's tokens.
        half = max(16, tokens_multiple // 2)
        sharing = half * (context.config.tensor_model_parallel_size if context.config.sequence_parallel else 1)
        slots, cu_seqlens = slots_of_segments(cu_seqlens, context.context_rank, size, sharing)
    longest = max(b - a for a, b in pairwise(cu_seqlens))
    edges = to_device(torch.tensor(cu_seqlens, dtype=torch.int32), context.device)
    # Under context parallelism the kernel asks where segments begin in the padded row and raises where it gets None.
    padded = edges if size > 1 else None
    return slots, PackedSeqParams(
        qkv_format="thd",
        cu_seqlens_q=edges,
        cu_seqlens_kv=edges,
        max_seqlen_q=longest,
        max_seqlen_kv=longest,
        cu_seqlens_q_padded=padded,  # type: ignore[arg-type]
        cu_seqlens_kv_padded=padded,  # type: ignore[arg-type]
    )
