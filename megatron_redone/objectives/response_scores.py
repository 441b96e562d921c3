"""Log-probabilities of responses under a model that is not trained, on any layout."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.batches.row_placer import RowPlacer, Rows
from megatron_redone.distributed.collectives import broadcast_from_last, sum_over
from megatron_redone.objectives.micro_batches import run_micro_batches
from megatron_redone.objectives.objective import LossFunction, Report
from megatron_redone.objectives.responses import pairs_of, response_log_probs, response_losses


@dataclass(frozen=True)
class _ResponseScores:
    """Reports the log-probability and the number of tokens of every response."""

    row_placer: RowPlacer

    def forward_step(self, batches: Iterator[Rows], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        rows = next(batches)
        return response_losses(chunk, rows), partial(self._report, rows)

    def _report(self, rows: Rows, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Report]:
        pairs = pairs_of(rows)
        sums = response_log_probs(rows, losses, self.row_placer.context).view(-1, 2)
        report = {"numbers": pairs.numbers.cpu(), "sums": sums.cpu(), "lengths": pairs.lengths.view(-1, 2).cpu()}
        return losses.sum(), torch.ones((), dtype=torch.int32, device=losses.device), report


@torch.no_grad()
def score_pairs(
    model_chunks: Sequence[torch.nn.Module],
    row_placer: RowPlacer,
    micro_batches: Sequence[MicroBatch],
    first: int,
    count: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores the pairs `first` to before `first + count`, which the micro-batches of all ranks hold together.

    Args:
        model_chunks: This rank's, in evaluation mode.
        row_placer: The model's.
        micro_batches: This data-parallel rank's, of pairs.
        first: Number of the first pair in its dataset.
        count: How many there are.

    Returns:
        Sums in nats, float32 [count, 2], and tokens, int32 [count, 2], of chosen and rejected, the same on all
        ranks; NaN and 0 for a pair that no micro-batch holds.
    """
    context = row_placer.context
    reports = run_micro_batches(model_chunks, _ResponseScores(row_placer), micro_batches, forward_only=True)
    # Sums, tokens, and whether a rank has scored the pair.
    table = torch.zeros(count, 5, dtype=torch.float64)
    for report in reports if context.is_last_stage and context.context_rank == 0 else []:
        entries = report["numbers"] - first
        table[entries, :2], table[entries, 2:4] = report["sums"].double(), report["lengths"].double()
        table[entries, 4] = 1.0
    if context.is_last_stage:
        table = sum_over(table, context.groups.dp_cp)
    table = broadcast_from_last(table, context.groups.pp)
    sums = table[:, :2].masked_fill(table[:, 4:] == 0, torch.nan)
    return sums.float(), table[:, 2:4].int()
