"""The loop: which batches it takes, what callbacks are told, and when it ends."""

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from megatron_redone.batches.micro_batch import GlobalBatch
from megatron_redone.checkpoint.record import TrainState
from megatron_redone.training import loop
from megatron_redone.training.loop import FinishedStep, Training, train
from megatron_redone.training.samples import SampleRange
from tests.helpers.one_process import finished


def run(
    monkeypatch: pytest.MonkeyPatch, start: TrainState, steps: int, stop_after: int, goes_back_at: int = 0
) -> list[FinishedStep]:
    """What the second of two callbacks is told by a run that is asked to stop, or to go back, at a step."""
    rates: list[float] = []
    told: list[FinishedStep] = []
    order: list[str] = []
    monkeypatch.setattr(loop, "set_learning_rate", lambda _, rate: rates.append(rate))
    monkeypatch.setattr(loop, "train_step", lambda *_: finished(0, rate=rates[-1]).result)

    def first(step: FinishedStep) -> None:
        order.append("first")

    def second(step: FinishedStep) -> None:
        order.append("second")
        told.append(step)

    any_model: Any = SimpleNamespace(train_steps=steps, at=lambda step: step / 100)
    training = Training(
        model_chunks=[], optimizer=any_model, objective=any_model, schedule=any_model, guard=guard(goes_back_at)
    )
    batches = (
        GlobalBatch(micro_batches=[], consumed_samples=start.consumed_samples + 8 * n, tokens=10) for n in count(1)
    )
    callbacks: Any = [SimpleNamespace(after_step=first), SimpleNamespace(after_step=second)]
    stop: Any = SimpleNamespace(agreed=lambda: len(told) + 1 + start.step >= stop_after)
    ended = train(training, start, batches, callbacks, stop)
    assert (ended.leave_out is not None) == bool(goes_back_at)
    assert order == ["first", "second"] * len(told)
    assert ended.state == (told[-1].state if told else start)
    assert [step.result.metrics["rate"] for step in told] == [step.learning_rate for step in told]
    return told


def guard(goes_back_at: int) -> Any:
    """A guard that knows the number of steps alone."""

    def settle(step: int, samples: SampleRange) -> SampleRange | None:
        return samples if step == goes_back_at else None

    return SimpleNamespace(judge=None, settle=settle, recent={"loss": [1.0]})


def test_a_run_goes_on_from_its_state_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    start = TrainState(step=3, consumed_samples=24, consumed_tokens=30, data={"seed": 1})
    told = run(monkeypatch, start, steps=6, stop_after=100)
    assert [step.state.step for step in told] == [4, 5, 6]
    assert [step.state.consumed_samples for step in told] == [32, 40, 48]
    assert [step.state.consumed_tokens for step in told] == [40, 50, 60]
    assert [step.learning_rate for step in told] == [0.03, 0.04, 0.05], "of the step that is made, the first being 0"
    assert [step.is_last for step in told] == [False, False, True]
    assert {step.tokens for step in told} == {10} and all(step.state.data == {"seed": 1} for step in told)


def test_a_stop_ends_it_after_the_step_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    told = run(monkeypatch, TrainState(), steps=6, stop_after=2)
    assert [(step.state.step, step.is_last) for step in told] == [(1, False), (2, True)]


def test_a_step_that_is_gone_back_from_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    told = run(monkeypatch, TrainState(), steps=6, stop_after=100, goes_back_at=3)
    assert [step.state.step for step in told] == [1, 2] and told[-1].state.recent == {"loss": [1.0]}


def test_samples_that_are_left_out_are_read_past(monkeypatch: pytest.MonkeyPatch) -> None:
    start = TrainState(left_out=[[8, 15], [20, 20]])
    told = run(monkeypatch, start, steps=2, stop_after=100)
    assert [(step.state.step, step.state.consumed_samples) for step in told] == [(1, 8), (2, 32)]
    assert told[-1].state.consumed_tokens == 20


def test_a_finished_run_takes_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, TrainState(step=6), steps=6, stop_after=100) == []
