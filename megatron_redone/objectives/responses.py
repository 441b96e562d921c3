"""Log-probabilities of whole responses, whatever rows, ranks and model chunks they are spread over."""

import torch

from megatron_redone.batches.micro_batch import PairColumns
from megatron_redone.batches.row_placer import Rows
from megatron_redone.distributed.collectives import all_reduce_with_grad
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.objectives.language_modelling import model_losses


def pairs_of(rows: Rows) -> PairColumns:
    """The columns of pairs of placed rows, on the device."""
    assert rows.batch.pairs is not None, "these rows hold no pairs"
    return rows.batch.pairs


def response_losses(chunk: torch.nn.Module, rows: Rows) -> torch.Tensor:
    """One model chunk: losses of the responses' tokens, float32 [n], from the last stage; else hidden states."""
    return model_losses(chunk, rows, rows.trained)


def response_log_probs(rows: Rows, losses: torch.Tensor, context: ParallelContext) -> torch.Tensor:
    """Sums over the tokens of each of 2P responses in nats, float32 [2P], the same on all context ranks.

    Args:
        rows: A placed micro-batch of pairs.
        losses: Of the responses' tokens on this rank, float32 [n], as `response_losses` gives them.
        context: This rank's place.
    """
    pairs = pairs_of(rows)
    owners = pairs.responses.flatten()[rows.trained]
    sums = losses.new_zeros(len(pairs.lengths), dtype=torch.float32)
    sums = sums.index_add(0, owners, -losses.float())
    return all_reduce_with_grad(sums, context.groups.cp)
