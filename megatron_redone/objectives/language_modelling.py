"""Next-token prediction: pretraining and supervised fine-tuning."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from megatron_redone.distributed.context import ParallelContext
from megatron_redone.objectives.objective import Batch, LossFunction, Report
from megatron_redone.objectives.row_batch import Rows, place_rows

_WORTH_SELECTING = 0.9  # share of labels that count, below which choosing their positions pays for the copies


@dataclass(frozen=True)
class LanguageModelling:
    """Cross entropy per token over the global batch.

    A micro-batch holds, for B rows of S tokens:
        tokens: int64 [B, S].
        labels: int64 [B, S], the token that follows each.
        loss_mask: float32 [B, S], 1 where the label counts, else 0.
        position_ids: int64 [B, S].
        cu_seqlens: int32 [n + 1], optional, only with B = 1: the row holds n segments that must not see each
            other, whose positions restart; 0 first, S last.
    """

    loss_is_per_token: ClassVar[bool] = True

    context: ParallelContext
    packed_by_kernel: bool = False
    """Whether packed rows go to Transformer Engine's kernel instead of the torch backend's attention."""

    def forward_step(self, batches: Iterator[Batch], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        """What `trained_losses` gives for the next micro-batch, and their sum."""
        rows = place_rows(next(batches), self.context, self.packed_by_kernel)
        return trained_losses(chunk, rows), partial(_sum_loss, rows.loss_mask)


def trained_losses(chunk: torch.nn.Module, rows: Rows) -> torch.Tensor:
    """Losses per token, float32, from the last stage; hidden states from the others.

    Where many labels do not count, only those that do have a loss, [n] in the order of the rows; else [B, L].
    """
    counts = rows.loss_mask != 0
    selected = bool(counts.float().mean() < _WORTH_SELECTING)
    return model_losses(chunk, rows, counts if selected else None)


def model_losses(chunk: torch.nn.Module, rows: Rows, chosen: torch.Tensor | None) -> torch.Tensor:
    """Losses per token, float32, from the last stage; hidden states from the others.

    Args:
        chunk: One piece of the model.
        rows: A placed micro-batch.
        chosen: bool [B, L], the positions whose losses are wanted, which come as [n]; None gives all, [B, L].
    """
    return chunk(
        rows.tokens,
        rows.position_ids,
        None,
        labels=rows.labels,
        loss_mask=chosen,
        packed_seq_params=rows.layout,
    )


def _sum_loss(loss_mask: torch.Tensor, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Report]:
    selected = losses.dim() == 1
    weights = loss_mask[loss_mask != 0] if selected else loss_mask
    total = (losses.float() * weights).sum()
    count = loss_mask.sum()
    report = torch.stack([total.detach(), count])
    return total, count.to(torch.int32), {"loss": report}
