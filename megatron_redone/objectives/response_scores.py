"""Log-probabilities of responses under a model that is not trained, on any layout."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from megatron_redone.distributed.collectives import broadcast_from_last, sum_over
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.objectives import Batch, Report
from megatron_redone.objectives.micro_batches import run_micro_batches
from megatron_redone.objectives.objective import LossFunction
from megatron_redone.objectives.responses import Responses


@dataclass(frozen=True)
class _Scores:
    """An objective that reports the log-probability and the number of tokens of every response."""

    context: ParallelContext
    packed_by_kernel: bool

    def forward_step(self, batches: Iterator[Batch], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        batch = next(batches)
        responses = Responses(batch, self.context, self.packed_by_kernel)
        return responses.forward(chunk), partial(self._report, batch, responses)

    def _report(
        self, batch: Batch, responses: Responses, losses: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Report]:
        sums = responses.log_probabilities(losses).view(-1, 2)
        report = {"pairs": batch["pairs"], "sums": sums.cpu(), "lengths": responses.lengths.view(-1, 2).cpu()}
        return losses.sum(), torch.ones((), dtype=torch.int32, device=losses.device), report


@torch.no_grad()
def score_pairs(
    chunks: Sequence[torch.nn.Module],
    batches: Sequence[Batch],
    first: int,
    count: int,
    context: ParallelContext,
    packed_by_kernel: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores the pairs `first` to before `first + count`, which the micro-batches of all ranks hold together.

    Args:
        chunks: This rank's pieces, in evaluation mode.
        batches: This data-parallel rank's micro-batches of `datasets.preference_batches.pair_rows`.
        first: Number of the first pair in its dataset.
        count: How many there are.
        context: This rank's place.
        packed_by_kernel: Whether attention is Transformer Engine's.

    Returns:
        Sums in nats, float32 [count, 2], and tokens, int32 [count, 2], of chosen and rejected, the same on all
        ranks; NaN and 0 for a pair that no micro-batch holds.
    """
    reports = run_micro_batches(chunks, _Scores(context, packed_by_kernel).forward_step, batches, forward_only=True)
    # Sums, tokens, and whether a rank has scored the pair.
    table = torch.zeros(count, 5, dtype=torch.float64)
    for report in reports if context.is_last_stage and context.context_rank == 0 else []:
        places = report["pairs"] - first
        table[places, :2], table[places, 2:4] = report["sums"].double(), report["lengths"].double()
        table[places, 4] = 1.0
    if context.is_last_stage:
        table = sum_over(table, context.groups.dp_cp)
    table = broadcast_from_last(table, context.groups.pp)
    sums = table[:, :2].masked_fill(table[:, 4:] == 0, torch.nan)
    return sums.float(), table[:, 2:4].int()
