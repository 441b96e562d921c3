"""Spikes are far above the median of the steps before, in robust deviations of their logarithms."""

import math

import numpy as np
import pytest
from scipy import stats

from megatron_redone.training.spikes import Spikes

RNG = np.random.default_rng(4)
LOSSES = np.exp(RNG.normal(1.0, 0.1, 60)).tolist()


def test_the_height_is_that_of_scipys_median_deviation() -> None:
    logs = np.log(LOSSES)
    expected = (math.log(9.0) - np.median(logs)) / stats.median_abs_deviation(logs, scale="normal")
    assert Spikes(60, 3.0, LOSSES).height(9.0) == pytest.approx(expected, rel=1e-4)


def test_what_lies_below_or_near_is_none() -> None:
    spikes = Spikes(60, 6.0, LOSSES)
    assert spikes.height(0.01) is None and spikes.height(max(LOSSES)) is None and spikes.height(2 * math.e) is not None


def test_nothing_is_a_spike_before_enough_is_known() -> None:
    spikes = Spikes(60, 6.0, LOSSES[:19])
    assert spikes.height(1e6) is None
    spikes.add(LOSSES[19])
    assert spikes.height(1e6) is not None


def test_equal_losses_have_no_spike_of_a_few_hundredths() -> None:
    spikes = Spikes(60, 10.0, [2.0] * 60)
    assert spikes.height(2.1) is None and spikes.height(2.3) == pytest.approx(math.log(1.15) / 0.01)


def test_the_window_holds_the_last_figures_and_only_finite_ones_above_zero() -> None:
    spikes = Spikes(20, 6.0, [1.0] * 30)
    for figure in (2.0, math.nan, math.inf, 0.0, -1.0, 3.0):
        spikes.add(figure)
    assert spikes.known == [1.0] * 18 + [2.0, 3.0]
