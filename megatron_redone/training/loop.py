"""The training loop. It knows no task: an objective makes the loss, callbacks do everything besides."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.batches.micro_batch import GlobalBatch
from megatron_redone.checkpoint.record import TrainState
from megatron_redone.objectives import Objective
from megatron_redone.training.optimizer import set_learning_rate
from megatron_redone.training.samples import SampleRange
from megatron_redone.training.schedule import LearningRate
from megatron_redone.training.step_guard import StepGuard
from megatron_redone.training.train_step import StepResult, train_step


@dataclass(frozen=True, kw_only=True)
class FinishedStep:
    """What callbacks are told after a step.

    Attributes:
        state: After the step.
        result: Losses and gradient norm.
        learning_rate: The one that the step was made with.
        tokens: Tokens of its global batch, padding included.
        is_last: Whether no step follows, because the run is complete or was asked to stop.
        is_stop: Whether it was asked to stop, and may be killed soon.
    """

    state: TrainState
    result: StepResult
    learning_rate: float
    tokens: int
    is_last: bool
    is_stop: bool = False


class Callback(Protocol):
    """Something that happens beside the training; called on every rank, in the order given to the loop."""

    def after_step(self, step: FinishedStep) -> None:
        """Called after every step."""
        ...


class Stop(Protocol):
    """Says when the run is to end before its last step."""

    def agreed(self) -> bool:
        """Whether the run ends now; the same on every rank. For all ranks."""
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the loop works on.

    Attributes:
        model_chunks: This rank's, wrapped, in training mode.
        guard: Judges every step.
    """

    model_chunks: Sequence[DistributedDataParallel]
    optimizer: MegatronOptimizer
    objective: Objective
    schedule: LearningRate
    guard: StepGuard


@dataclass(frozen=True)
class Ended:
    """How the loop ended.

    Attributes:
        state: Where the run stands.
        leave_out: Set where it is to go back to its newest checkpoint and go on without these samples.
    """

    state: TrainState
    leave_out: SampleRange | None = None


def train(
    training: Training, state: TrainState, batches: Iterator[GlobalBatch], callbacks: Sequence[Callback], stop: Stop
) -> Ended:
    """Trains from a state to the end of the schedule, until a stop is agreed on, or until the guard wants to go back.

    Args:
        training: Model, optimizer, objective, schedule and guard.
        state: Where to go on from.
        batches: This rank's part of the global batches from `state.consumed_samples` on, without end.
        callbacks: Called after every step.
        stop: Ends all ranks after the same step.
    """
    while state.step < training.schedule.train_steps:
        batch = next(batches)
        samples = SampleRange(state.consumed_samples, batch.consumed_samples - 1)
        if samples.meets_any(state.left_out):
            state = dataclasses.replace(state, consumed_samples=batch.consumed_samples)
            continue
        learning_rate = training.schedule.at(state.step)
        set_learning_rate(training.optimizer, learning_rate)
        result = train_step(
            training.model_chunks, training.optimizer, training.objective, batch.micro_batches, training.guard.judge
        )
        leave_out = training.guard.settle(state.step + 1, samples)
        if leave_out is not None:
            return Ended(state, leave_out)
        state = dataclasses.replace(state.after(batch), recent=training.guard.recent)
        is_complete = state.step == training.schedule.train_steps
        is_stop = stop.agreed() and not is_complete
        finished = FinishedStep(
            state=state,
            result=result,
            learning_rate=learning_rate,
            tokens=batch.tokens,
            is_last=is_complete or is_stop,
            is_stop=is_stop,
        )
        for callback in callbacks:
            callback.after_step(finished)
        if finished.is_last:
            break
    return Ended(state)
