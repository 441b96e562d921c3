"""Log-probabilities of whole responses, whatever rows, ranks and pieces of a model they are spread over."""

import torch

from megatron_redone.distributed.collectives import sum_over_differentiably
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.distributed.context_parallel import take_places
from megatron_redone.objectives.language_modelling import model_losses
from megatron_redone.objectives.objective import Batch
from megatron_redone.objectives.row_batch import place_rows


class Responses:
    """The responses of one micro-batch of `datasets.preference_batches.pair_rows`, on their way through a model."""

    def __init__(self, batch: Batch, context: ParallelContext, packed_by_kernel: bool) -> None:
        """Takes the micro-batch, whole and on the CPU."""
        self._rows = place_rows(batch, context, packed_by_kernel)
        mine = take_places(batch["responses"], self._rows.places)
        self._responses, self._context = mine.to(context.device), context
        self.lengths = batch["response_lengths"].to(context.device)

    def forward(self, chunk: torch.nn.Module) -> torch.Tensor:
        """One piece of the model: losses of the responses' tokens, [n], from the last stage; else hidden states."""
        return model_losses(chunk, self._rows, self._rows.loss_mask != 0)

    def log_probabilities(self, losses: torch.Tensor) -> torch.Tensor:
        """Sums over the tokens of each of 2P responses in nats, float32 [2P], the same on all context ranks."""
        owners = self._responses[self._rows.loss_mask != 0]
        sums = losses.new_zeros(len(self.lengths), dtype=torch.float32)
        sums = sums.index_add(0, owners, -losses.float())
        return sum_over_differentiably(sums, self._context.groups.cp)
