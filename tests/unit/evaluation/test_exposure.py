"""Exposure to harmful posts: by hand, and against simulations whose truth is known."""

from typing import Any

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
from tests.off_policy.coverage import exposure_coverage
from tests.off_policy.exposed_posts import population

POSTS = LabelledPosts(
    impressions=np.array([10.0, 20, 30, 40]), harmful=np.array([True, False, True, False]), sample_weights=np.ones(4)
)
SCORES = np.array([0.9, 0.2, 0.5, 0.4])
DRAWN: dict[str, Any] = {"least_harmful": 6, "resamples": 100, "confidence": 0.95, "seed": 0}


def rate(scores: np.ndarray, rule: Rule, posts: LabelledPosts = POSTS) -> float:
    return value_of(exposure_rate(posts, scores, rule), len(scores))


def test_rates_by_hand() -> None:
    assert rate(SCORES, equal_volume(0.0)) == pytest.approx(40 / 100)
    assert rate(SCORES, equal_volume(0.25)) == pytest.approx(30 / 90)
    assert rate(SCORES, equal_volume(0.375)) == pytest.approx(15 / 75), "half of the second is removed"
    assert rate(SCORES, equal_precision(1.0)) == 0, "both harmful posts stand first"
    assert rate(-SCORES, equal_precision(0.9)) == pytest.approx(0.4), "the first is harmless: nothing is removed"


def test_a_precision_that_is_just_reached_removes() -> None:
    """0.55 * 100 is more than 55 in float64."""
    harmful = np.array([True] * 55 + [False] * 45 + [True] + [False] * 99)
    posts = LabelledPosts(impressions=np.ones(200), harmful=harmful, sample_weights=np.ones(200))
    assert rate(np.repeat([1.0, 0.0], 100), equal_precision(0.55), posts) == pytest.approx(1 / 100)


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


@pytest.mark.slow
@pytest.mark.parametrize("rule", [equal_volume(0.03), equal_precision(0.3)])
def test_intervals_cover_the_true_effect_of_rare_harms(rule: Rule) -> None:
    """Where all posts are labelled, and where people look most at what the old model suspects."""
    found = exposure_coverage(rule, simulations=200, resamples=100)
    assert min(one.covered for one in found.values()) >= 0.93, found
    assert max(one.refused for one in found.values()) <= 0.1, found


def test_the_same_model_changes_nothing() -> None:
    posts, old, _ = population(5000, np.random.default_rng(0))
    found = estimate_exposure(posts, old, old, equal_volume(0.05), **DRAWN)
    assert (found.change.low, found.change.value, found.change.high) == (0, 0, 0)
    assert found.removed_baseline == found.removed_policy == pytest.approx(0.05)


def test_too_few_harmful_posts_are_refused() -> None:
    assert effective_harmful(POSTS) == pytest.approx(40**2 / (10**2 + 30**2))
    with pytest.raises(UserError, match="so few harmful posts"):
        estimate_exposure(POSTS, SCORES, SCORES, equal_volume(0.25), **{**DRAWN, "least_harmful": 1})
    with pytest.raises(UserError, match="2 harmful posts say as much as 2 that are seen alike, and 6 are asked for"):
        estimate_exposure(POSTS, SCORES, SCORES, equal_volume(0.25), **DRAWN)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("harmful", [120, 97])
def test_a_rule_that_leaves_no_posts_is_refused(harmful: int) -> None:
    """Where all posts reach the precision, or those of some resamples do; of either model."""
    random = np.random.default_rng(0)
    posts = LabelledPosts(impressions=np.ones(200), harmful=np.arange(200) < harmful, sample_weights=np.ones(200))
    flat, sharp = np.zeros(200), posts.harmful + random.normal(0, 2, 200)
    for baseline, policy in ((sharp, flat), (flat, sharp), (flat, flat)):
        with pytest.raises(UserError, match="all posts are removed, or in some resamples, which leaves no rate"):
            estimate_exposure(posts, baseline, policy, equal_precision(0.5), **DRAWN)
