"""How often harmful posts are seen where one model or another decides what is removed.

A model removes the posts that it scores highest. The exposure rate is the impressions of harmful posts over the
impressions of all posts that are left. Two models are compared where both remove the same share of the posts, and
where both remove as many as they can while a share of what they remove is harmful (equal precision): an equal
threshold would compare their calibration instead. Of posts with equal scores that are not all removed, each is removed
in part: what a fair draw among them removes on average.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from megatron_redone.errors import UserError
from megatron_redone.evaluation.bootstrap import Interval, Statistic, log_interval, resampled, value_of
from megatron_redone.evaluation.ranked_draws import RankedDraws, reaches


@dataclass(frozen=True, kw_only=True)
class LabelledPosts:
    """Posts whose harm is known.

    Attributes:
        impressions: How often each was seen, float64 [N].
        harmful: bool [N].
        sample_weights: How many posts each stands for, float64 [N]; ones where all posts are labelled.
    """

    impressions: np.ndarray
    harmful: np.ndarray
    sample_weights: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ExposureEstimate:
    """Exposure rates of two models under one rule.

    Attributes:
        baseline: Of the model that is replaced.
        policy: Of the model that replaces it.
        change: Of the rate, relative to the baseline's.
        removed_baseline: The share of posts that the baseline removes.
        removed_policy: The share that the other removes.
    """

    baseline: Interval
    policy: Interval
    change: Interval
    removed_baseline: float
    removed_policy: float


@dataclass(frozen=True)
class _Ranked:
    """Sums over the posts of each score, the highest first, of every draw: float64 [R, G]."""

    posts: np.ndarray
    harmful: np.ndarray
    seen: np.ndarray
    seen_harmful: np.ndarray


Rule = Callable[[_Ranked], np.ndarray]
"""From posts in order to the fraction of each score's posts that is removed, float64 [R, G]."""


def equal_volume(share: float) -> Rule:
    """Removes this share of the posts."""

    def removed(ranked: _Ranked) -> np.ndarray:
        above = np.cumsum(ranked.posts, 1) - ranked.posts
        room = share * ranked.posts.sum(1, keepdims=True) - above
        return np.clip(np.divide(room, ranked.posts, out=np.zeros_like(room), where=ranked.posts > 0), 0, 1)

    return removed


def equal_precision(precision: float) -> Rule:
    """Removes as many as possible while at least this share of the removed posts is harmful."""

    def removed(ranked: _Ranked) -> np.ndarray:
        reached = reaches(precision, np.cumsum(ranked.harmful, 1), np.cumsum(ranked.posts, 1))
        # Everything above the last place at which it is reached.
        return np.flip(np.logical_or.accumulate(np.flip(reached, 1), 1), 1).astype(float)

    return removed


def estimate_exposure(
    posts: LabelledPosts,
    baseline: np.ndarray,
    policy: np.ndarray,
    rule: Rule,
    *,
    least_harmful: float,
    resamples: int,
    confidence: float,
    seed: int,
) -> ExposureEstimate:
    """Rates and their relative change, with bootstrap intervals over posts; both models see the same draws.

    Args:
        posts: What is known.
        baseline: Scores of the model that is replaced, float64 [N]; higher is more harmful.
        policy: Scores of the model that replaces it, float64 [N].
        rule: How much is removed.
        least_harmful: Of `effective_harmful`, below which an estimate is refused.
        resamples: Of the bootstrap.
        confidence: Of the intervals.
        seed: Of the resamples.

    Raises:
        UserError: harmful posts are too few for an interval, or nothing is left of all posts.
    """
    count, harmful = len(posts.harmful), effective_harmful(posts)
    if harmful < least_harmful:
        raise UserError(
            f"{int(posts.harmful.sum()):,} harmful posts say as much as {harmful:.0f} that are seen alike, and "
            f"{least_harmful:g} are asked for; label more posts"
        )
    values, draws = [], []
    for scores in (baseline, policy):
        statistic = exposure_rate(posts, scores, rule)
        values.append(value_of(statistic, count))
        draws.append(resampled(statistic, count, resamples, np.random.default_rng(seed)))
    _check_rates(np.concatenate([values, *draws]))
    degrees = max(1.0, harmful - 1)
    intervals = [log_interval(value, draw, confidence, degrees) for value, draw in zip(values, draws, strict=True)]
    ratio = log_interval(values[1] / values[0], draws[1] / draws[0], confidence, degrees)
    return ExposureEstimate(
        baseline=intervals[0],
        policy=intervals[1],
        change=Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1),
        removed_baseline=value_of(_removed_share(posts, baseline, rule), count),
        removed_policy=value_of(_removed_share(posts, policy, rule), count),
    )


def _check_rates(rates: np.ndarray) -> None:
    """Refuses the logarithm of what has none."""
    if np.isnan(rates).any():
        raise UserError(
            "all posts are removed, or in some resamples, which leaves no rate; remove less, or raise the precision"
        )
    if rates.min() <= 0:
        raise UserError("so few harmful posts are left that some resamples have none; label more posts, or remove less")


def effective_harmful(posts: LabelledPosts) -> float:
    """How many harmful posts that are seen alike would say as much as these (Kish's effective sample size)."""
    seen = (posts.impressions * posts.sample_weights)[posts.harmful]
    return float(seen.sum() ** 2 / (seen**2).sum()) if seen.any() else 0.0


def exposure_rate(posts: LabelledPosts, scores: np.ndarray, rule: Rule) -> Statistic:
    """Impressions of harmful posts over those of all posts that a model leaves; NaN where it leaves none."""

    def rate(ranked: _Ranked) -> np.ndarray:
        left = 1 - rule(ranked)
        seen = (left * ranked.seen).sum(1)
        return np.divide((left * ranked.seen_harmful).sum(1), seen, out=np.full_like(seen, np.nan), where=seen > 0)

    return _over_draws(posts, scores, rate)


def _removed_share(posts: LabelledPosts, scores: np.ndarray, rule: Rule) -> Statistic:
    return _over_draws(posts, scores, lambda r: (rule(r) * r.posts).sum(1) / r.posts.sum(1))


def _over_draws(posts: LabelledPosts, scores: np.ndarray, of: Callable[[_Ranked], np.ndarray]) -> Statistic:
    ranked, each = RankedDraws(scores), posts.sample_weights
    columns = [each, each * posts.harmful]
    columns += [column * posts.impressions for column in columns]
    return lambda chosen: of(_Ranked(*ranked.sums(chosen, *columns)))
