"""Gradients are clipped as torch clips them; a step that is not finite changes nothing; metrics are weighed sums."""

import math
from types import SimpleNamespace

import pytest
import torch

from megatron_redone.training import train_step as module
from megatron_redone.training.train_step import _apply_gradients, _reduce
from tests.helpers import one_process


class Optimizer:
    """What megatron-core's optimizer offers, over torch's own."""

    def __init__(self, weights: list[torch.nn.Parameter], clip_grad: float, overflow: bool = False) -> None:
        self._weights, self._overflow = weights, overflow
        self._inner = torch.optim.SGD(weights, lr=1.0)
        self.param_groups, self.config = self._inner.param_groups, SimpleNamespace(clip_grad=clip_grad)

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


@pytest.mark.parametrize("clip", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_clipping_is_that_of_torch(clip: float, scale: float) -> None:
    ours, theirs = weights(scale), weights(scale)
    norm, skipped = _apply_gradients(Optimizer(ours, clip))  # type: ignore[arg-type]
    before = torch.nn.utils.clip_grad_norm_(theirs, clip or math.inf)
    assert not skipped and norm == pytest.approx(float(before))
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(one.detach(), -other.grad)


@pytest.mark.parametrize(("scale", "overflow"), [(math.nan, False), (math.inf, False), (1.0, True)])
def test_gradients_that_are_not_finite_leave_the_weights(scale: float, overflow: bool) -> None:
    ours = weights(scale)
    _, skipped = _apply_gradients(Optimizer(ours, 1.0, overflow))  # type: ignore[arg-type]
    assert skipped and not any(weight.any() for weight in ours)


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
