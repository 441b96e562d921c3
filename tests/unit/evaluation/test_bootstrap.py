"""Intervals against scipy's."""

import numpy as np
import pytest

from megatron_redone.evaluation import bootstrap
from megatron_redone.evaluation.bootstrap import percentile_interval, resampled_ratios


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    bottoms = random.integers(20, 400, 60).astype(float)
    base = bottoms * random.normal(1.5, 0.3, 60)
    return base, 0.9 * base + bottoms * random.normal(0, 0.05, 60), bottoms


def test_a_ratio_has_the_interval_that_scipy_finds(sample: tuple[np.ndarray, ...]) -> None:
    stats = pytest.importorskip("scipy.stats")
    tops, _, bottoms = sample
    theirs = stats.bootstrap(
        (tops, bottoms),
        lambda top, bottom, axis=-1: top.sum(axis) / bottom.sum(axis),
        n_resamples=500,
        paired=True,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(7),
    )
    ours = resampled_ratios(tops, bottoms, 500, np.random.default_rng(7))
    np.testing.assert_allclose(ours, theirs.bootstrap_distribution, rtol=1e-12)
    interval = percentile_interval(tops.sum() / bottoms.sum(), ours, 0.9)
    assert (interval.low, interval.high) == pytest.approx(tuple(theirs.confidence_interval), rel=1e-12)


def test_the_difference_of_two_models_is_scipys_paired_one(sample: tuple[np.ndarray, ...]) -> None:
    stats = pytest.importorskip("scipy.stats")
    base, other, bottoms = sample
    theirs = stats.bootstrap(
        (base, other, bottoms),
        lambda one, two, bottom, axis=-1: two.sum(axis) / bottom.sum(axis) - one.sum(axis) / bottom.sum(axis),
        n_resamples=400,
        paired=True,
        method="percentile",
        rng=np.random.default_rng(3),
    )
    before, after = (resampled_ratios(tops, bottoms, 400, np.random.default_rng(3)) for tops in (base, other))
    interval = percentile_interval(0.0, after - before, 0.95)
    assert (interval.low, interval.high) == pytest.approx(tuple(theirs.confidence_interval), rel=1e-9)
    unpaired = resampled_ratios(other, bottoms, 400, np.random.default_rng(4)) - before
    assert np.std(after - before) < np.std(unpaired)


def test_drawing_in_blocks_changes_nothing(sample: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    tops, _, bottoms = sample
    whole = resampled_ratios(tops, bottoms, 101, np.random.default_rng(0))
    monkeypatch.setattr(bootstrap, "_DRAWN", 60 * 7)
    np.testing.assert_array_equal(resampled_ratios(tops, bottoms, 101, np.random.default_rng(0)), whole)
