"""What follows a step that went wrong is what was configured; the next run remembers what this one knew."""

import logging
import math

import pytest

from megatron_redone.config.guards import GuardConfig, OnBadStep, OnNotFinite
from megatron_redone.errors import UserError
from megatron_redone.training.samples import SampleRange
from megatron_redone.training.step_guard import StepGuard

KNOWN = {"loss": [2.0, 2.1] * 20, "grad_norm": [1.0, 1.5] * 20}


def settled(guard: StepGuard, step: int = 41) -> SampleRange | None:
    return guard.settle(step, SampleRange(4 * step, 4 * step + 3))


@pytest.mark.parametrize("figures", [(50.0, 1.2), (2.0, 900.0)])
def test_a_spike_is_skipped_and_told_with_its_samples(
    figures: tuple[float, float], caplog: pytest.LogCaptureFixture
) -> None:
    guard = StepGuard(GuardConfig(on_spike=OnBadStep.skip), KNOWN)
    fault = guard.judge(*figures, True)
    assert fault is not None and "robust deviations above" in fault
    assert settled(guard) is None and guard.recent == KNOWN
    assert f"step 41: {fault} in samples 164 to 167: skipped" in caplog.text


def test_a_spike_that_is_only_told_is_trained_on_and_remembered(caplog: pytest.LogCaptureFixture) -> None:
    guard = StepGuard(GuardConfig(), KNOWN)
    assert guard.judge(50.0, 1.2, True) is None
    assert settled(guard) is None and guard.recent["loss"][-1] == 50.0
    assert "trained on all the same (guards.on_spike=tell)" in caplog.text


@pytest.mark.parametrize("finite", [True, False])
def test_stop_ends_the_run(finite: bool) -> None:
    guard = StepGuard(GuardConfig(on_spike=OnBadStep.stop, on_not_finite=OnNotFinite.stop), KNOWN)
    assert guard.judge(50.0, 1.2, finite) is not None
    with pytest.raises(UserError, match=r"step 41: .* in samples 164 to 167; mend the data, or let guards\.on_"):
        settled(guard)


def test_rollback_leaves_out_as_many_steps_as_asked() -> None:
    guard = StepGuard(GuardConfig(on_spike=OnBadStep.rollback, left_out_steps=3), KNOWN)
    for step in range(37, 41):
        assert guard.judge(2.0, 1.2, True) is None and settled(guard, step) is None
    assert guard.judge(50.0, 1.2, True) is not None
    assert settled(guard) == SampleRange(4 * 39, 4 * 41 + 3)


def test_not_finite_is_skipped_whatever_spikes_are(caplog: pytest.LogCaptureFixture) -> None:
    guard = StepGuard(GuardConfig(spike_deviations=None), {})
    assert guard.judge(math.nan, math.inf, False) == "numbers that are not finite"
    assert settled(guard) is None and guard.recent == {"loss": [], "grad_norm": []}
    for _ in range(30):
        assert guard.judge(2.0, 1.0, True) is None
    assert guard.judge(1e9, 1e9, True) is None  # spikes are not looked for
    assert caplog.messages[0].endswith("skipped")


def test_a_good_step_after_a_bad_one_is_good(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    guard = StepGuard(GuardConfig(on_spike=OnBadStep.rollback), KNOWN)
    guard.judge(50.0, 1.2, True)
    settled(guard)
    caplog.clear()
    assert guard.judge(2.0, 1.2, True) is None and settled(guard, 42) is None and not caplog.messages
