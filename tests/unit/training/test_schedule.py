"""Learning rates. The oracle is transformers' schedules, but for the warm-up: theirs begins with a rate of zero."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from megatron_redone.config.optimizer import OptimizerConfig, Schedule, WsdDecay
from megatron_redone.errors import UserError
from megatron_redone.training.schedule import LearningRate

STEPS, WARMUP = 100, 10


def theirs(make: Callable[..., Any], **options: Any) -> list[float]:
    """Their rates; our step s of the warm-up is their step s + 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3.0)
    scheduler = make(optimizer, num_warmup_steps=WARMUP, **options)
    rates = []
    for _ in range(STEPS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*rates[1 : WARMUP + 1], *rates[WARMUP:]]


def ours(**keys: Any) -> list[float]:
    schedule = LearningRate(OptimizerConfig(lr=3.0, **keys), STEPS)
    return [schedule.at(step) for step in range(STEPS)]


CASES = {
    "cosine": (Schedule.cosine, transformers.get_cosine_schedule_with_warmup, {"num_training_steps": STEPS}),
    "linear": (Schedule.linear, transformers.get_linear_schedule_with_warmup, {"num_training_steps": STEPS}),
    "constant": (Schedule.constant, transformers.get_constant_schedule_with_warmup, {}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("warmup", [{"warmup_steps": WARMUP}, {"warmup_ratio": WARMUP / STEPS}])
def test_schedules_equal_transformers(name: str, warmup: dict[str, Any]) -> None:
    schedule, make, options = CASES[name]
    assert ours(schedule=schedule, **warmup) == pytest.approx(theirs(make, **options))


@pytest.mark.parametrize("decay", [WsdDecay.linear, WsdDecay.cosine])
def test_wsd_equals_transformers(decay: WsdDecay) -> None:
    keys = {"schedule": Schedule.wsd, "wsd_decay_fraction": 0.2, "wsd_decay": decay, "warmup_steps": WARMUP}
    options = {"num_decay_steps": 20, "num_stable_steps": 70, "decay_type": decay.name}
    assert ours(**keys) == pytest.approx(theirs(transformers.get_wsd_schedule, **options))


def test_wsd_by_square_root() -> None:
    rates = ours(schedule=Schedule.wsd, wsd_decay_fraction=0.25, min_lr=1.0)
    assert rates[:76] == [3.0] * 76
    assert rates[75 + 16] == pytest.approx(1.0 + 2.0 * (1 - (16 / 25) ** 0.5))


@pytest.mark.parametrize("schedule", [Schedule.cosine, Schedule.linear, Schedule.wsd])
def test_the_last_step_has_the_least_rate(schedule: Schedule) -> None:
    rates = ours(schedule=schedule, min_lr=0.5, warmup_steps=WARMUP)
    assert rates[WARMUP - 1] == 3.0 and rates[WARMUP:] == sorted(rates[WARMUP:], reverse=True)
    assert 0.5 < rates[-1] < rates[WARMUP] and rates[0] > 0


def test_a_warmup_longer_than_the_run_is_refused() -> None:
    with pytest.raises(UserError, match="200 is more than the 100 steps"):
        LearningRate(OptimizerConfig(warmup_steps=200), STEPS)
