"""Intervals and noise, against scipy's tests."""

import math

import numpy as np
import pytest
from scipy import stats

from megatron_redone.mixture import baselines


def test_means_and_intervals_are_those_of_the_t_test() -> None:
    values = np.random.default_rng(0).normal(3, 0.1, 5).tolist()
    mean, half = baselines.mean_and_half_width(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert math.isnan(baselines.mean_and_half_width([3.0])[1])


def test_the_winner_is_compared_seed_by_seed() -> None:
    losses = {
        baselines.WINNER: {1: 3.0, 2: 4.0, 3: 5.0},
        baselines.PRIOR: {1: 3.1, 2: 4.11, 3: 5.1},  # far apart between seeds, near together within one
        baselines.UNIFORM: {1: 2.0, 2: 5.0, 3: 5.1},
        baselines.BEST_SINGLE: {},
    }
    rows = baselines.table({name: {"a": 1.0} for name in losses}, losses)
    assert [row.name for row in rows] == [baselines.WINNER, baselines.UNIFORM, baselines.PRIOR]
    by_name = {row.name: row for row in rows}
    assert by_name[baselines.PRIOR].verdict == "the winner is better"
    assert by_name[baselines.UNIFORM].verdict == "not told apart" and by_name[baselines.WINNER].verdict == ""
    interval = stats.ttest_rel([3.0, 4.0, 5.0], [3.1, 4.11, 5.1]).confidence_interval(0.95)
    prior = by_name[baselines.PRIOR]
    assert prior.winner_minus is not None and prior.winner_minus_half_width is not None
    assert prior.winner_minus + prior.winner_minus_half_width == pytest.approx(interval.high)


def test_noise_is_pooled_and_an_f_test_tells_it_from_an_effect() -> None:
    random = np.random.default_rng(1)
    noise, degrees = baselines.seed_noise([random.normal(mean, 0.1, 200).tolist() for mean in (1, 5)])
    assert noise == pytest.approx(0.1, rel=0.1) and degrees == 398
    assert baselines.differ_by_more_than_seeds(random.normal(0, 0.3, 30), 0.1, 6)
    false_alarms = [
        baselines.differ_by_more_than_seeds(
            random.normal(0, 0.1, 30), *baselines.seed_noise([random.normal(0, 0.1, 3).tolist() for _ in range(3)])
        )
        for _ in range(1000)
    ]
    assert np.mean(false_alarms) < 0.08
    assert baselines.differ_by_more_than_seeds(random.normal(0, 0.25, 14), 0.027, 2)  # real runs of ten steps
