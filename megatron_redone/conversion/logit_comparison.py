"""Compares a model's logits with a reference's, whatever the layout that the model is computed on."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from megatron.core.tensor_parallel.mappings import gather_from_tensor_model_parallel_region

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.batches.row_placer import RowPlacer, Rows
from megatron_redone.distributed.context_parallel import gather_sequence
from megatron_redone.objectives.objective import LossFunction, Report

Reference = Callable[[torch.Tensor], torch.Tensor]
"""Tokens int64 [B, S] on the CPU to logits [B, S, V]."""


@dataclass
class LogitComparison:
    """A forward pass whose metrics are both sides' losses per token: `reference` and `model`.

    Attributes:
        row_placer: The model's.
        vocab_size: Columns without padding.
        reference: On the rank that holds the reference model; None on the others.
        largest: The largest difference of two logits so far; on the rank that holds the reference model.
    """

    row_placer: RowPlacer
    vocab_size: int
    reference: Reference | None
    largest: float = field(default=0.0, init=False)

    def forward_step(self, batches: Iterator[Rows], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        """Logits [B, S / context ranks, V / tensor ranks] from the last stage."""
        rows = next(batches)
        output = chunk(rows.batch.tokens, rows.batch.position_ids, None, packed_seq_params=rows.layout)
        return output, lambda logits: self._compare(rows.whole, logits)

    def _compare(self, batch: MicroBatch, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Report]:
        ours = self._gather(logits)
        report = {name: torch.zeros(2) for name in ("reference", "model")}
        if self.reference is not None:
            theirs = self.reference(batch.tokens).to(ours.device).float()
            difference = float((ours - theirs).abs().max())
            # A maximum drops what is not a number; a model that computes it must not pass.
            self.largest = max(self.largest, difference) if math.isfinite(difference) else math.inf
            report = {name: _loss(side, batch) for name, side in (("reference", theirs), ("model", ours))}
        return logits.new_zeros(()), torch.ones((), dtype=torch.int32), report

    def _gather(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of whole rows, float32 [B, S, V], on every rank of the last stage."""
        context = self.row_placer.context
        whole = gather_from_tensor_model_parallel_region(logits, group=context.groups.tp)
        if context.config.context_parallel_size > 1:
            whole = gather_sequence(whole.transpose(0, 1)[:, :, None], context.groups.cp)[:, :, 0].transpose(0, 1)
        return whole[..., : self.vocab_size].float()


def _loss(logits: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
    labels = batch.labels.to(logits.device)
    total = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    return torch.tensor([float(total), labels.numel()])
