"""Estimates of another policy against Open Bandit Pipeline's, and against simulations whose truth is known."""

import json

import numpy as np
import pytest

from megatron_redone.evaluation.off_policy import (
    Sums,
    effective_samples,
    estimate_policy,
    single_estimators,
    slate_estimators,
    thin_support,
)
from tests.off_policy import compare, simulation


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


def covered(sums: list[Sums], truth: float, seed: int) -> dict[str, bool]:
    estimates = estimate_policy(sums, least_samples=100, resamples=200, confidence=0.95, seed=seed)
    found = {}
    for one in estimates:
        assert one.interval is not None, one.refused
        found[one.estimator] = one.interval.low <= truth <= one.interval.high
    return found


@pytest.mark.slow
def test_intervals_cover_the_truth_of_simulated_logs() -> None:
    """100 logs by an old policy, with single suggestions and with slates whose lower places are looked at less.

    The policy of the slates is nearer to the old one: over the places weights multiply.
    """
    random = np.random.default_rng(7)
    many, near = simulation.pages(400_000, random), simulation.pages(400_000, random, sharpness=0.5)
    truths = simulation.single_truth(many), simulation.slate_truth(near, random, length=2)
    counts: dict[str, int] = {}
    for seed in range(100):
        random = np.random.default_rng([seed, 1])
        drawn = simulation.pages(2000, random)
        single = compare.as_single(simulation.single_log(drawn, random))
        near = simulation.pages(3000, random, sharpness=0.5)
        slates = compare.as_slates(simulation.slate_log(near, random, length=2))
        hits = covered([one for one in single_estimators(single, 5.0) if one.name != "switch_dr"], truths[0], seed)
        # Clicks end the reading: they depend on what stands above, which reward-interaction IPS alone takes in.
        hits |= covered([one for one in slate_estimators(slates) if one.name != "independent_ips"], truths[1], seed)
        for name, hit in hits.items():
            counts[name] = counts.get(name, 0) + hit
    assert counts.keys() == {"ips", "snips", "dr", "reward_interaction_ips"}
    assert min(counts.values()) >= 93, counts


def test_effective_samples_are_those_of_equal_weights_and_of_the_worst_position() -> None:
    assert effective_samples(np.full(50, 3.0)) == pytest.approx(50)
    assert effective_samples(np.array([1.0, 0, 0, 0])) == 1
    assert effective_samples(np.array([[1.0, 1], [1, 0]])) == 1
    assert effective_samples(np.zeros(4)) == 0


def test_thin_support_is_refused_with_the_reason() -> None:
    random = np.random.default_rng(1)
    sharp = simulation.pages(400, random, sharpness=30.0)
    log = compare.as_single(simulation.single_log(sharp, random))
    estimates = estimate_policy(single_estimators(log, 5.0), least_samples=200, resamples=100, confidence=0.95, seed=0)
    assert all(one.interval is None and "too far apart" in one.refused for one in estimates)
    assert "not 1" in thin_support(0.5 * np.ones(400) + random.uniform(0, 0.1, 400), 100)
    assert thin_support(random.uniform(0.5, 1.5, 4000), 100) == ""
