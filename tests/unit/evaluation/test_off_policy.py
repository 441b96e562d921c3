"""Estimates of another policy against Open Bandit Pipeline's, and against simulations whose truth is known."""

import json
from typing import Any

import numpy as np
import pytest

from megatron_redone.evaluation.bootstrap import Interval
from megatron_redone.evaluation.off_policy import (
    Least,
    SingleLog,
    SlateLog,
    any_click_estimators,
    effective_samples,
    estimate_policy,
    single_estimators,
    thin_support,
)
from tests.off_policy import compare, simulation
from tests.off_policy.coverage import search_coverage

DRAWN: dict[str, Any] = {"least": Least(pages=100, clicks=20), "resamples": 100, "confidence": 0.95, "seed": 0}


def test_estimates_are_those_of_open_bandit_pipeline() -> None:
    """tests/off_policy.sh compares larger logs where sb-obp can be installed, and wrote these figures."""
    golden = json.loads(compare.GOLDEN.read_text())
    ours = compare.our_estimates(golden["log"])
    assert ours.keys() == golden["estimates"].keys() and len(ours) == 6
    for name, value in golden["estimates"].items():
        assert ours[name] == pytest.approx(value, abs=1e-9), name


def test_the_old_policy_is_worth_what_it_earned() -> None:
    """Weights of one: every estimator gives the click rate of the log, whatever the model of clicks expects."""
    random = np.random.default_rng(0)
    drawn = simulation.pages(500, random)
    log = simulation.single_log(drawn, random)
    log = {**log, "policy": drawn.logging}
    sums = single_estimators(compare.as_single(log), 5.0)
    rate = log["click"].mean()
    assert [one.tops.sum() / one.bottoms.sum() for one in sums[:2]] == pytest.approx([rate, rate])


def test_switch_is_the_model_alone_where_no_weight_is_trusted_and_dr_where_all_are() -> None:
    log = compare.as_single(compare.simulate(300, 3)["single"])
    dr = single_estimators(log, 0.0)[2]
    assert single_estimators(log, 0.0)[3].tops.sum() == pytest.approx(log.expected_policy.sum())
    np.testing.assert_array_equal(single_estimators(log, 1e9)[3].tops, dr.tops)


@pytest.mark.slow
def test_intervals_cover_the_truth_of_simulated_logs() -> None:
    """100 logs by an old policy, with single suggestions and with slates whose lower places are looked at less."""
    found = search_coverage(simulations=100, resamples=200)
    assert len(found) == 7, found
    assert min(one.covered for one in found.values()) >= 0.93, found
    assert max(one.refused for one in found.values()) <= 0.1, found


def test_pages_with_a_click_are_counted_once() -> None:
    clicks = np.array([[1.0, 1, 0], [0, 1, 1], [0, 0, 0]])
    weights = np.array([[2.0, 9, 9], [9, 0.5, 9], [9, 9, 9]])
    [found] = any_click_estimators(SlateLog(clicks=clicks, own_weights=None, path_weights=weights))
    assert found.tops.tolist() == [2, 0.5, 0]
    [alike] = any_click_estimators(SlateLog(clicks=clicks, own_weights=None, path_weights=np.ones((3, 3))))
    assert alike.tops.tolist() == clicks.any(1).tolist()
    assert any_click_estimators(SlateLog(clicks=clicks, own_weights=weights, path_weights=None)) == []


def test_the_change_is_against_what_the_log_earned_on_the_same_pages() -> None:
    """Of the old policy itself it is none, however the pages are drawn; of twice its weights it is twice as much."""
    random = np.random.default_rng(5)
    clicks = (random.random(2000) < 0.1).astype(float)
    same = SingleLog(clicks=clicks, weights=np.ones(2000), expected_shown=clicks, expected_policy=clicks)
    found = estimate_policy(single_estimators(same, 5.0), clicks, **DRAWN)
    assert [one.change for one in found] == [Interval(0, 0, 0)] * 4
    assert found[0].interval is not None and found[0].interval.value == pytest.approx(clicks.mean())


def test_effective_samples_are_those_of_equal_weights_and_of_the_worst_position() -> None:
    assert effective_samples(np.full(50, 3.0)) == pytest.approx(50)
    assert effective_samples(np.array([1.0, 0, 0, 0])) == 1
    assert effective_samples(np.array([[1.0, 1], [1, 0]])) == 1
    assert effective_samples(np.zeros(4)) == 0


def test_thin_support_is_refused_with_the_reason() -> None:
    random = np.random.default_rng(1)
    sharp = simulation.pages(400, random, sharpness=30.0)
    log = compare.as_single(simulation.single_log(sharp, random))
    estimates = estimate_policy(
        single_estimators(log, 5.0), log.clicks, **{**DRAWN, "least": Least(pages=200, clicks=1)}
    )
    assert all(one.interval is None and "too far apart" in one.refused for one in estimates)
    assert "not 1" in thin_support(0.5 * np.ones(400) + random.uniform(0, 0.1, 400), 100)
    assert thin_support(random.uniform(0.5, 1.5, 4000), 100) == ""


def test_few_clicks_are_refused_however_many_pages_there_are() -> None:
    random = np.random.default_rng(2)
    clicks = np.zeros(5000)
    clicks[:12] = 1
    log = SingleLog(
        clicks=clicks, weights=random.uniform(0.9, 1.1, 5000), expected_shown=clicks, expected_policy=clicks
    )
    found = estimate_policy(single_estimators(log, 5.0), clicks, **DRAWN)
    assert all(one.interval is None and one.refused.startswith("12 clicks say as much as 12") for one in found)
