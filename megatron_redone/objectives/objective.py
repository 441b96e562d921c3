"""What the training loop asks of a task."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Protocol

import torch

Batch = dict[str, torch.Tensor]
"""One micro-batch, on the CPU, the same on every rank of one copy of the model."""

Report = dict[str, torch.Tensor]
"""Measures by name, each float32 [2]: a sum and what it is to be divided by, over one rank's micro-batch.

The loop adds both numbers up over micro-batches and ranks before it divides. `loss` is always there.
"""

LossFunction = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, Report]]
"""Output of the last stage to (sum to be minimised, int32 number of terms that it is divided by, report)."""


ForwardStep = Callable[[Iterator[Batch], torch.nn.Module], tuple[torch.Tensor, LossFunction]]
"""Takes the next micro-batch through one piece of the model."""


class Objective(Protocol):
    """One way of making a loss from a model and a micro-batch.

    Attributes:
        loss_is_per_token: Whether the loss is in nats a token, so that its exponential is a perplexity.
    """

    loss_is_per_token: ClassVar[bool]

    def forward_step(self, batches: Iterator[Batch], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        """Takes the next micro-batch through one piece of the model.

        megatron-core's schedules call it, once for each piece and micro-batch; the loss function is
        called on the last stage only.
        """
        ...
