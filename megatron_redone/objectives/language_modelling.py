"""Next-token prediction: pretraining and supervised fine-tuning."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from megatron_redone.batches.row_placer import RowPlacer, Rows
from megatron_redone.objectives.objective import LossFunction, Report

_WORTH_SELECTING = 0.9  # fraction of labels that count, up to which choosing their positions pays for the copies


@dataclass(frozen=True)
class LanguageModelling:
    """Cross entropy per token over the global batch.

    Where tokens have loss weights, the sum of weight times loss is divided by the number of tokens whose weight is
    not 0, as ms-swift does: a weight means the same in every batch, whatever else is in it.
    """

    loss_is_per_token: ClassVar[bool] = True

    row_placer: RowPlacer

    def forward_step(self, batches: Iterator[Rows], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        """Losses of the next micro-batch's tokens from the last stage, and their sum.

        Where many labels do not count, only those that do have a loss.
        """
        rows = next(batches)
        is_selective = len(rows.trained) <= _WORTH_SELECTING * rows.batch.loss_mask.numel()
        losses = model_losses(chunk, rows, rows.trained if is_selective else None)
        return losses, partial(_sum_loss, rows.batch.loss_mask, rows.trained)


def model_losses(chunk: torch.nn.Module, rows: Rows, positions: torch.Tensor | None) -> torch.Tensor:
    """Losses per token, float32, from the last stage; hidden states from the others.

    Args:
        chunk: One model chunk.
        rows: A placed micro-batch.
        positions: int64 [n] in the flattened [B, L], whose losses are wanted, which come as [n]; None gives all,
            [B, L].
    """
    return chunk(
        rows.batch.tokens,
        rows.batch.position_ids,
        None,
        labels=rows.batch.labels,
        loss_mask=positions,
        packed_seq_params=rows.layout,
    )


def _sum_loss(
    loss_mask: torch.Tensor, trained: torch.Tensor, losses: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, Report]:
    is_selective = losses.dim() == 1
    weights = loss_mask.flatten()[trained] if is_selective else loss_mask
    total = (losses.float() * weights).sum()
    count = (loss_mask > 0).sum()
    report = torch.stack([total.detach(), count.to(total.dtype)])
    return total, count.to(torch.int32), {"loss": report}
