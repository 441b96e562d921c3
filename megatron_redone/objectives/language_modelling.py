"""Next-token prediction: pretraining and supervised fine-tuning."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from megatron_redone.distributed.context import ParallelContext
from megatron_redone.objectives.objective import Batch, LossFunction, Report
from megatron_redone.objectives.row_batch import place_rows


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

    context: ParallelContext
    packed_by_kernel: bool = False
    """Whether packed rows go to Transformer Engine's kernel instead of the torch backend's attention."""

    def forward_step(self, batches: Iterator[Batch], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        """Losses per token, float32 [B, S / context ranks], from the last stage; hidden states from the others."""
        rows = place_rows(next(batches), self.context, self.packed_by_kernel)
        output = chunk(rows.tokens, rows.position_ids, None, labels=rows.labels, packed_seq_params=rows.layout)
        return output, partial(_sum_loss, rows.loss_mask)


def _sum_loss(loss_mask: torch.Tensor, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Report]:
    total = (losses.float() * loss_mask).sum()
    count = loss_mask.sum()
    report = torch.stack([total.detach(), count])
    return total, count.to(torch.int32), {"loss": report}
