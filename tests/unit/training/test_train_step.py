"""Gradients are clipped as torch clips them; a step that is not finite changes nothing; metrics are weighed sums."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.training import train_step as module
from megatron_redone.training.train_step import StepResult, _reduce, train_step
from tests.helpers import one_process


class Optimizer:
    """What megatron-core's optimizer offers, over torch's own."""

    def __init__(self, weights: list[torch.nn.Parameter], clip_grad: float, overflow: bool = False) -> None:
        self._weights, self._overflow = weights, overflow
        self._inner = torch.optim.SGD(weights, lr=1.0)
        self.param_groups, self.config = self._inner.param_groups, SimpleNamespace(clip_grad=clip_grad)

    def zero_grad(self) -> None:
        """Gradients are given from outside."""

    def prepare_grads(self) -> bool:
        return self._overflow

    def get_grad_norm(self) -> float:
        grads = [weight.grad for weight in self._weights if weight.grad is not None]
        return math.sqrt(sum(float(grad.square().sum()) for grad in grads))

    def step_with_ready_grads(self) -> bool:
        self._inner.step()
        return True


def weights(scale: float) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    found = [torch.nn.Parameter(torch.zeros(size)) for size in (4, 7, 2)]
    for weight in found[:2]:  # the last one has no gradient
        weight.grad = scale * torch.randn(weight.shape, generator=generator)
    return found


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StepResult]:
    """A step whose gradients are there already, and whose loss is the sum that is given, over so many terms."""

    def run(optimizer: Optimizer, total: float = 1.5, terms: float = 1.0, **keys: Any) -> StepResult:
        monkeypatch.setattr(module, "run_micro_batches", lambda *_, **__: [{"loss": torch.tensor([total, terms])}])
        return train_step([], optimizer, objective(), [], **keys)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "broadcast_from_last", lambda value, group: value)
    return run


def objective() -> Any:
    context = one_process.context()
    context.groups.dp_cp, context.groups.pp = context.groups.cp, None
    return SimpleNamespace(row_placer=SimpleNamespace(context=context))


@pytest.mark.parametrize("clip", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_clipping_is_that_of_torch(clip: float, scale: float, step: Callable[..., StepResult]) -> None:
    ours, theirs = weights(scale), weights(scale)
    result = step(Optimizer(ours, clip))
    before = torch.nn.utils.clip_grad_norm_(theirs, clip or math.inf)
    assert not result.skipped and result.grad_norm == pytest.approx(float(before))
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(one.detach(), -other.grad)


@pytest.mark.parametrize(
    ("scale", "overflow", "total"),
    [(math.nan, False, 1.5), (math.inf, False, 1.5), (1.0, True, 1.5), (1.0, False, math.nan), (1.0, False, math.inf)],
)
def test_numbers_that_are_not_finite_leave_the_weights(
    scale: float, overflow: bool, total: float, step: Callable[..., StepResult]
) -> None:
    ours = weights(scale)
    result = step(Optimizer(ours, 1.0, overflow), total)
    assert result.fault == "numbers that are not finite" and not any(weight.any() for weight in ours)


def test_a_batch_without_anything_to_learn_is_no_fault(step: Callable[..., StepResult]) -> None:
    assert not step(Optimizer(weights(1.0), 1.0), total=0.0, terms=0.0).skipped


def test_a_judge_keeps_the_weights(step: Callable[..., StepResult]) -> None:
    asked = []

    def judge(*figures: Any) -> str:
        asked.append(figures)
        return "a spike"

    ours = weights(1.0)
    result = step(Optimizer(ours, 0.5), judge=judge)
    assert result.fault == "a spike" and not any(weight.any() for weight in ours)
    assert asked == [(1.5, result.grad_norm, True)]


def test_metrics_are_divided_by_their_own_terms_over_all_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    context = one_process.context()
    context.groups.dp_cp = context.groups.cp
    context.groups.pp = None
    monkeypatch.setattr(module, "broadcast_from_last", lambda value, group: value)
    reports = [
        {"loss": torch.tensor([6.0, 3.0]), "accuracy": torch.tensor([1.0, 2.0]), "empty": torch.tensor([0.0, 0.0])},
        {"loss": torch.tensor([1.0, 4.0]), "accuracy": torch.tensor([0.0, 2.0]), "empty": torch.tensor([0.0, 0.0])},
    ]
    metrics, terms = _reduce(reports, context)
    assert (metrics["loss"], metrics["accuracy"]) == (1.0, 0.25) and math.isnan(metrics["empty"])
    assert terms == {"loss": 7.0, "accuracy": 4.0, "empty": 0.0}
