"""When a run validates, what the metrics are called, and what becomes of the model meanwhile."""

import dataclasses
import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.training import validator as module
from megatron_redone.training.validator import Validator
from tests.helpers.one_process import finished


class Recorder:
    """Stands for the trackers."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self.logged.append((step, dict(metrics)))


def validator(
    monkeypatch: pytest.MonkeyPatch, losses: dict[str, float], every: int | None, per_token: bool = True
) -> tuple[Validator, Recorder, torch.nn.Module]:
    """One over sources whose losses are known."""
    chunk, recorder = torch.nn.Linear(1, 1), Recorder()

    def evaluate(chunks: list[torch.nn.Module], _: Any, micro_batches: list[float]) -> tuple[dict[str, float], Any]:
        assert not any(one.training for one in chunks)
        return {"loss": micro_batches[0]}, {}

    monkeypatch.setattr(module, "evaluate_step", evaluate)
    sets: Any = [
        SimpleNamespace(name=name, micro_batches=lambda _, loss=loss: iter([loss]), is_weighted=name == "weighted")
        for name, loss in losses.items()
    ]
    anything: Any = SimpleNamespace(loss_is_per_token=per_token, paused=nullcontext)
    chunks: Any = [chunk]
    found = Validator(
        sets=sets,
        model_chunks=chunks,
        objective=anything,
        batch_slice=anything,
        every=every,
        trackers=recorder,  # type: ignore[arg-type]
        throughput=anything,
    )
    return found, recorder, chunk


def test_sources_have_metrics_of_their_own_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, recorder, chunk = validator(monkeypatch, {"zh": 2.0, "en": 1000.0}, every=None)
    metrics = ours.validate(7)
    assert metrics["validation/zh/loss"] == 2.0 and metrics["validation/zh/perplexity"] == pytest.approx(math.e**2)
    assert math.isfinite(metrics["validation/en/perplexity"])
    assert recorder.logged == [(7, metrics)] and chunk.training
    assert ours.metrics_of(7) == metrics and ours.metrics_of(6) == {}


def test_a_weighted_loss_has_no_perplexity(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _, _ = validator(monkeypatch, {"weighted": 2.0}, every=None)
    assert ours.validate(1) == {"validation/weighted/loss": 2.0}


def test_a_loss_of_pairs_has_no_perplexity(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _, _ = validator(monkeypatch, {"a": 2.0}, every=None, per_token=False)
    assert ours.validate(1) == {"validation/a/loss": 2.0}


@pytest.mark.parametrize(("every", "steps"), [(2, [2, 4, 5]), (5, [5]), (None, [5])])
def test_it_validates_every_so_many_steps_and_after_the_last(
    monkeypatch: pytest.MonkeyPatch, every: int | None, steps: list[int]
) -> None:
    ours, recorder, _ = validator(monkeypatch, {"a": 1.0}, every)
    for step in range(1, 6):
        ours.after_step(finished(step, is_last=step == 5))
    assert [step for step, _ in recorder.logged] == steps


def test_a_run_that_is_to_stop_saves_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, recorder, _ = validator(monkeypatch, {"a": 1.0}, 2)
    for step in (3, 4):
        ours.after_step(dataclasses.replace(finished(step, is_last=True), is_stop=True))
    assert [step for step, _ in recorder.logged] == [4], "it was due there in any case"


def test_without_sources_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, recorder, _ = validator(monkeypatch, {}, every=1)
    ours.after_step(finished(1))
    assert recorder.logged == [] and ours.metrics_of(1) == {}
