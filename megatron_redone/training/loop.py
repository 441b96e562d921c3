"""The training loop. It knows no task: an objective makes the loss, callbacks do everything besides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.checkpoint.record import TrainState
from megatron_redone.datasets.batch_loader import Batch
from megatron_redone.distributed.collectives import errors_stop_all_ranks, largest
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.errors import UserError
from megatron_redone.objectives import Objective
from megatron_redone.training.optimizer import set_learning_rate
from megatron_redone.training.schedule import LearningRate
from megatron_redone.training.stop_request import StopRequest
from megatron_redone.training.train_step import StepResult, train_step

_GO_ON, _STOP, _FAILED = range(3)


@dataclass(frozen=True, kw_only=True)
class FinishedStep:
    """What callbacks are told after a step.

    Attributes:
        state: After the step.
        result: Losses and gradient norm.
        learning_rate: That it was made with.
        tokens: Of its global batch, padding included.
        is_last: Whether no step follows, because the run is complete or was asked to stop.
    """

    state: TrainState
    result: StepResult
    learning_rate: float
    tokens: int
    is_last: bool


class Callback(Protocol):
    """Something that happens beside the training; called on every rank, in the order given to the loop."""

    def after_step(self, step: FinishedStep) -> None:
        """Called after every step."""
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the loop works on.

    Attributes:
        chunks: Wrapped pieces of this rank, in training mode.
        max_skipped_steps: In a row, after which the run ends.
    """

    chunks: Sequence[DistributedDataParallel]
    optimizer: MegatronOptimizer
    objective: Objective
    schedule: LearningRate
    context: ParallelContext
    max_skipped_steps: int


def train(
    training: Training, state: TrainState, batches: Iterator[Batch], callbacks: Sequence[Callback], stop: StopRequest
) -> TrainState:
    """Trains from a state to the end of the schedule, or until a stop is requested.

    Args:
        training: Model, optimizer, objective and schedule.
        state: Where to go on from; its `step` is less than the schedule's.
        batches: This rank's part of the global batches from `state.consumed_samples` on.
        callbacks: Called after every step.
        stop: A stop asked for on any rank ends all after the same step.

    Raises:
        UserError: too many steps in a row had no finite gradients.
    """
    skipped = 0
    while state.step < training.schedule.train_steps:
        batch = _next_batch(batches)
        learning_rate = training.schedule.at(state.step)
        set_learning_rate(training.optimizer, learning_rate)
        tokens = training.context.data_size * sum(rows["tokens"].numel() for rows in batch.micro_batches)
        result = train_step(
            training.chunks, training.optimizer, training.objective, batch.micro_batches, training.context
        )
        state = replace(
            state,
            step=state.step + 1,
            consumed_samples=batch.consumed_samples,
            consumed_tokens=state.consumed_tokens + tokens,
        )
        stopping = largest(_STOP if stop.requested else _GO_ON) == _STOP
        finished = FinishedStep(
            state=state,
            result=result,
            learning_rate=learning_rate,
            tokens=tokens,
            is_last=stopping or state.step == training.schedule.train_steps,
        )
        for callback in callbacks:
            callback.after_step(finished)
        if stopping:
            break
        skipped = skipped + 1 if result.skipped else 0
        if skipped >= training.max_skipped_steps:
            raise UserError(
                f"step {state.step}: {skipped} steps in a row had no finite gradients; lower optimizer.lr, look at the "
                "data around this step, or go on from an earlier checkpoint"
            )
    return state


def _next_batch(batches: Iterator[Batch]) -> Batch:
    """The next batch; where reading it failed on some rank, all ranks end with that rank's reason."""
    error: Exception | None = None
    batch: Batch | None = None
    try:
        batch = next(batches)
    except Exception as caught:
        error = caught
    if largest(_GO_ON if error is None else _FAILED) == _FAILED:
        with errors_stop_all_ranks():
            if error is not None:
                raise error
    assert batch is not None
    return batch
