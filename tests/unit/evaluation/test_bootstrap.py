"""Intervals against scipy's."""

import numpy as np
import pytest

from megatron_redone.evaluation import bootstrap
from megatron_redone.evaluation.bootstrap import (
    degrees_of_freedom,
    log_interval,
    percentile_interval,
    ratio_of_sums,
    resampled,
    student_p_value,
    student_quantile,
    zero_p_value,
)


def resampled_ratios(tops: np.ndarray, bottoms: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    return resampled(ratio_of_sums(tops, bottoms), len(tops), resamples, random)


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


def test_the_p_value_is_the_limit_on_where_scipys_interval_reaches_zero() -> None:
    stats = pytest.importorskip("scipy.stats")
    proportions = pytest.importorskip("statsmodels.stats.proportion")
    difference = np.random.default_rng(5).normal(0.2, 1, 200)
    ours = resampled(ratio_of_sums(difference, np.ones(200)), 200, 4000, np.random.default_rng(6))
    reaches = 2 * float((ours <= 0).mean())

    def lower_bound(p: float) -> float:
        found = stats.bootstrap(
            (difference,), np.mean, n_resamples=4000, confidence_level=1 - p, method="percentile",
            rng=np.random.default_rng(6),
        )  # fmt: skip
        return found.confidence_interval.low

    assert 0.005 < reaches < 0.2
    assert lower_bound(0.97 * reaches) < 0 < lower_bound(1.03 * reaches)
    limit = proportions.proportion_confint(int((ours <= 0).sum()), 4000, alpha=0.2, method="wilson")[1]
    assert zero_p_value(ours) == pytest.approx(2 * limit, rel=1e-9)


def test_a_paired_bootstrap_finds_what_scipys_randomisation_test_finds() -> None:
    """Another test of the same question, which turns the signs of the differences round."""
    stats = pytest.importorskip("scipy.stats")
    difference = np.random.default_rng(8).normal(0.12, 1, 300)
    ours = resampled(ratio_of_sums(difference, np.ones(300)), 300, 9999, np.random.default_rng(0))
    theirs = stats.permutation_test(
        (difference,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(0)
    )
    assert zero_p_value(ours) == pytest.approx(theirs.pvalue, rel=0.25) and 0.01 < theirs.pvalue < 0.5


def test_no_number_of_draws_proves_a_difference() -> None:
    assert zero_p_value(np.ones(999)) > zero_p_value(np.ones(99999)) > 0
    assert zero_p_value(np.zeros(999)) == 1.0


def test_students_quantiles_are_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (5, 12, 60, 1e6):
        assert student_quantile(0.975, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.01)
    assert student_quantile(0.975, 2) == student_quantile(0.975, 5)


def test_an_interval_on_the_logarithmic_scale() -> None:
    draws = np.exp(np.random.default_rng(0).normal(-3, 0.2, 20000))
    interval = log_interval(np.exp(-3), draws, 0.95, 1e6)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), rel=0.02)


def test_p_values_by_student_are_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees, p_value in ((5.0, 0.2), (12.0, 0.05), (12.0, 0.01), (300.0, 0.05), (40.0, 0.9)):
        expected = 2 * stats.t.sf(stats.norm.isf(p_value / 2), degrees)
        assert student_p_value(p_value, degrees) == pytest.approx(expected, rel=0.03), (degrees, p_value)
    assert student_p_value(0.03, None) == 0.03 and student_p_value(1.0, 9) == 1


def test_degrees_of_freedom_are_as_many_as_normal_examples_and_few_where_few_carry_the_value() -> None:
    random = np.random.default_rng(0)
    assert degrees_of_freedom(random.normal(0, 1, 20_000)) == pytest.approx(20_000, rel=0.05)
    alone = np.full(200, 0.01)
    alone[0] = 1
    found = degrees_of_freedom(alone)
    assert found is not None and found < 3
    assert degrees_of_freedom(np.ones(5)) is None
