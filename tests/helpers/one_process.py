"""A rank of one that holds no model: what objectives and callbacks ask of it."""

from types import SimpleNamespace
from typing import Any

import torch

from megatron_redone.batches.row_placer import RowPlacer
from megatron_redone.checkpoint.record import TrainState
from megatron_redone.config.model import Backend
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.training.loop import FinishedStep
from megatron_redone.training.train_step import StepResult


def context() -> Any:
    """Stands for a `ParallelContext` without process groups."""
    return SimpleNamespace(
        config=ParallelConfig(),
        device=torch.device("cpu"),
        world_size=1,
        is_main=True,
        is_last_stage=True,
        context_rank=0,
        groups=SimpleNamespace(cp=SimpleNamespace(size=lambda: 1)),
    )


def row_placer() -> RowPlacer:
    """For the torch backend."""
    return RowPlacer(context(), Backend.torch)


class LossTable(torch.nn.Module):
    """Stands for a model: the loss of a label is its entry in a table, wherever it stands."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.rand(vocab, generator=torch.Generator().manual_seed(5)) + 0.1)

    def forward(
        self, tokens: torch.Tensor, _: Any, __: Any, *, labels: torch.Tensor, loss_mask: Any, **___: Any
    ) -> torch.Tensor:
        losses = self.table[labels]
        return losses if loss_mask is None else losses.flatten()[loss_mask]


def finished(step: int, *, is_last: bool = False, skipped: bool = False, **metrics: float) -> FinishedStep:
    """A step of 64 tokens and 4 samples."""
    return FinishedStep(
        state=TrainState(step=step, consumed_samples=4 * step, consumed_tokens=64 * step),
        result=StepResult(
            metrics={"loss": 1.5, **metrics},
            terms={"loss": 60.0},
            grad_norm=0.25,
            fault="a reason" if skipped else None,
        ),
        learning_rate=1e-3,
        tokens=64,
        is_last=is_last,
    )
