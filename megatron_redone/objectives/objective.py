"""What the training loop asks of an objective."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Protocol

import torch

from megatron_redone.batches.row_placer import RowPlacer, Rows

Report = dict[str, torch.Tensor]
"""Metrics by name, each float32 [2]: a sum and what it is to be divided by, over one rank's micro-batch.

The loop adds both numbers up over micro-batches and ranks before it divides. `loss` is always there.
"""

LossFunction = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, Report]]
"""Output of the last stage to (sum to be minimised, int32 number of terms that it is divided by, report)."""

ForwardStep = Callable[[Iterator[Rows], torch.nn.Module], tuple[torch.Tensor, LossFunction]]
"""Takes the next micro-batch through one model chunk."""


class ForwardPass(Protocol):
    """What megatron-core's schedules run, with or without gradients."""

    @property
    def row_placer(self) -> RowPlacer:
        """Puts micro-batches where this rank computes."""
        ...

    def forward_step(self, batches: Iterator[Rows], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        """Takes the next micro-batch through one model chunk.

        The schedules call it once for each chunk and micro-batch; the loss function is called on the last stage only.
        """
        ...


class Objective(ForwardPass, Protocol):
    """One way of making a loss from a model and a micro-batch.

    Attributes:
        loss_is_per_token: Whether the loss is in nats a token, so that its exponential is a perplexity.
    """

    loss_is_per_token: ClassVar[bool]
