"""Exposure to harmful posts: by hand, and against simulations whose truth is known."""

import numpy as np
import pytest

from megatron_redone.errors import UserError
from megatron_redone.evaluation.bootstrap import value_of
from megatron_redone.evaluation.exposure import (
    LabelledPosts,
    Rule,
    effective_harmful,
    equal_precision,
    equal_volume,
    estimate_exposure,
    exposure_rate,
)

POSTS = LabelledPosts(
    impressions=np.array([10.0, 20, 30, 40]), harmful=np.array([True, False, True, False]), sample_weights=np.ones(4)
)
SCORES = np.array([0.9, 0.2, 0.5, 0.4])


def rate(scores: np.ndarray, rule: Rule, posts: LabelledPosts = POSTS) -> float:
    return value_of(exposure_rate(posts, scores, rule), len(scores))


def test_rates_by_hand() -> None:
    assert rate(SCORES, equal_volume(0.0)) == pytest.approx(40 / 100)
    assert rate(SCORES, equal_volume(0.25)) == pytest.approx(30 / 90)
    assert rate(SCORES, equal_volume(0.375)) == pytest.approx(15 / 75), "half of the second is removed"
    assert rate(SCORES, equal_precision(1.0)) == 0, "both harmful posts stand first"
    assert rate(-SCORES, equal_precision(0.9)) == pytest.approx(0.4), "the first is harmless: nothing is removed"


def test_equal_scores_are_removed_alike() -> None:
    assert rate(np.zeros(4), equal_volume(0.5)) == pytest.approx(0.4)
    doubled = LabelledPosts(
        impressions=POSTS.impressions, harmful=POSTS.harmful, sample_weights=np.array([2.0, 1, 1, 1])
    )
    twice = LabelledPosts(
        impressions=np.array([10.0, 10, 20, 30, 40]), harmful=np.array([True, True, False, True, False]),
        sample_weights=np.ones(5),
    )  # fmt: skip
    same = np.array([0.9, 0.9, 0.2, 0.5, 0.4])
    for rule in (equal_volume(0.3), equal_precision(0.8)):
        assert rate(SCORES, rule, doubled) == pytest.approx(rate(same, rule, twice)), "a post that stands for two"


def population(count: int, random: np.random.Generator) -> tuple[LabelledPosts, np.ndarray, np.ndarray]:
    """One post of forty is harmful, some are seen a hundred times as often as others; the new model sees better."""
    harmful = random.random(count) < 0.025
    shared = 0.5 * random.normal(0, 1, count)
    old, new = (gain * harmful + shared + random.normal(0, 0.9, count) for gain in (1.5, 2.2))
    seen = np.ceil(random.lognormal(4, 1.2, count))
    return LabelledPosts(impressions=seen, harmful=harmful, sample_weights=np.ones(count)), old, new


@pytest.mark.slow
@pytest.mark.parametrize("rule", [equal_volume(0.03), equal_precision(0.3)])
def test_intervals_cover_the_true_effect_of_rare_harms(rule: Rule) -> None:
    posts, *scores = population(1_000_000, np.random.default_rng(99))
    true = [rate(one, rule, posts) for one in scores]
    hits = 0
    for seed in range(100):
        sample, old, new = population(2500, np.random.default_rng(seed))
        change = estimate_exposure(sample, old, new, rule, resamples=100, confidence=0.95, seed=seed).change
        hits += change.low <= true[1] / true[0] - 1 <= change.high
    assert hits >= 93, hits


def test_the_same_model_changes_nothing() -> None:
    posts, old, _ = population(5000, np.random.default_rng(0))
    found = estimate_exposure(posts, old, old, equal_volume(0.05), resamples=100, confidence=0.95, seed=0)
    assert (found.change.low, found.change.value, found.change.high) == (0, 0, 0)
    assert found.removed_baseline == found.removed_policy == pytest.approx(0.05)


def test_too_few_harmful_posts_are_refused() -> None:
    assert effective_harmful(POSTS) == pytest.approx(40**2 / (10**2 + 30**2))
    with pytest.raises(UserError, match="so few harmful posts"):
        estimate_exposure(POSTS, SCORES, SCORES, equal_volume(0.25), resamples=100, confidence=0.95, seed=0)
