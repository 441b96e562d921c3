"""What another policy would have earned, from the logs of the one that served.

A record is a page: what was shown, with which propensity, and what was clicked. Its weight is the probability under
the other policy over the propensity. Estimates are means over pages of

- IPS: weight x click (Horvitz and Thompson, Journal of the American Statistical Association 47, 1952).
- SNIPS: IPS over the mean weight (Swaminathan and Joachims, NeurIPS 2015).
- DR: what a model of clicks expects of the other policy, and weight x what was clicked beyond what it expected of the
  shown (Dudík, Langford and Li, ICML 2011).
- Switch-DR: DR without the correction where a weight is above a threshold (Wang, Agarwal and Dudík, ICML 2017).
- For slates, independent IPS: the sum over positions of weight x click, for clicks that depend on their own position
  and suggestion alone (Li et al., KDD 2018); and reward-interaction IPS, with the product of the weights down to the
  position, for clicks that depend on what stands above as well (McInerney et al., KDD 2020).

Weights average one where the logs cover all that the other policy shows. Where they do not, or where a few pages carry
all the weight, nothing can be said, and `thin_support` says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_redone.evaluation.bootstrap import Interval, log_interval, ratio_of_sums, resampled, value_of

_FAR = 4.0  # standard errors between the mean weight and one that chance does not explain


@dataclass(frozen=True, kw_only=True)
class SingleLog:
    """Pages that show one suggestion, for one other policy.

    Attributes:
        clicks: 0 or 1, float64 [N].
        weights: Probability of the shown suggestion under the other policy over its propensity, float64 [N].
        expected_shown: What a model expects of the shown suggestion, float64 [N].
        expected_policy: What it expects of the other policy, its mean over that policy's suggestions, float64 [N].
    """

    clicks: np.ndarray
    weights: np.ndarray
    expected_shown: np.ndarray
    expected_policy: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SlateLog:
    """Pages that show several suggestions, for one other policy.

    A page with fewer positions has no clicks in the others, and weights as if both policies left them empty: ratios of
    one, so that they average one over all pages.

    Attributes:
        clicks: 0 or 1, float64 [N, positions].
        own_weights: Of each position by itself: ratios of marginal probabilities, float64 [N, positions]; None where
            the log does not have them.
        path_weights: Of each position with all above it: products of ratios of conditional probabilities, likewise.
    """

    clicks: np.ndarray
    own_weights: np.ndarray | None
    path_weights: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class Sums:
    """An estimate as a ratio of sums over pages: float64 [N] each.

    Attributes:
        name: Of the estimator.
        tops: What each page adds above.
        bottoms: What each adds below.
        weights: That it rests on, float64 [N] or [N, positions].
        clicks: What they weigh, likewise.
    """

    name: str
    tops: np.ndarray
    bottoms: np.ndarray
    weights: np.ndarray
    clicks: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PolicyEstimate:
    """An estimate of clicks a page.

    Attributes:
        estimator: Its name.
        interval: The value and its bounds; None where it is refused.
        change: Of the value, relative to what the log itself earned; None where it is refused.
        effective_samples: How many pages that weigh alike would say as much.
        refused: Why it is; empty where it is not.
    """

    estimator: str
    interval: Interval | None
    change: Interval | None
    effective_samples: float
    refused: str


@dataclass(frozen=True, kw_only=True)
class Least:
    """What an estimate must rest on: pages, and clicks, that weigh alike."""

    pages: float
    clicks: float


def single_estimators(log: SingleLog, switch_above: float) -> list[Sums]:
    """IPS, SNIPS, DR and switch-DR.

    Args:
        log: The pages.
        switch_above: The weight above which switch-DR trusts the model alone.
    """
    pages = np.ones(len(log.clicks))
    beyond = log.clicks - log.expected_shown
    trusted = np.where(log.weights <= switch_above, log.weights, 0.0)
    sums = {
        "ips": (log.weights * log.clicks, pages),
        "snips": (log.weights * log.clicks, log.weights),
        "dr": (log.expected_policy + log.weights * beyond, pages),
        "switch_dr": (log.expected_policy + trusted * beyond, pages),
    }
    return [
        Sums(name=name, tops=tops, bottoms=bottoms, weights=log.weights, clicks=log.clicks)
        for name, (tops, bottoms) in sums.items()
    ]


def slate_estimators(log: SlateLog) -> list[Sums]:
    """Independent and reward-interaction IPS, as far as the log has their probabilities."""
    kinds = {"independent_ips": log.own_weights, "reward_interaction_ips": log.path_weights}
    return [_slates(name, weights, log.clicks) for name, weights in kinds.items() if weights is not None]


def any_click_estimators(log: SlateLog) -> list[Sums]:
    """Pages with a click at all: reward-interaction IPS of the first click of each page.

    Whether a click is the first depends on what stands above it, so the weights of positions by themselves do not do.
    """
    if log.path_weights is None:
        return []
    is_first = (log.clicks > 0) & (log.clicks.cumsum(1) == log.clicks)
    return [_slates("reward_interaction_ips", log.path_weights, is_first.astype(float))]


def _slates(name: str, weights: np.ndarray, clicks: np.ndarray) -> Sums:
    return Sums(name=name, tops=(weights * clicks).sum(1), bottoms=np.ones(len(clicks)), weights=weights, clicks=clicks)


def estimate_policy(
    sums: Sequence[Sums], logged: np.ndarray, *, least: Least, resamples: int, confidence: float, seed: int
) -> list[PolicyEstimate]:
    """Values with bootstrap intervals over pages.

    Estimates by weights are skewed: most logs lack the clicks that weigh most. Percentile intervals lie too low then,
    and cover 92 to 93 of 100 truths where 95 are asked for; so the intervals are those of the logarithm, by Student's
    t with as many degrees of freedom as clicks carry the estimate.

    Args:
        sums: Of `single_estimators`, `slate_estimators` or `any_click_estimators`.
        logged: What each page of the log earned, float64 [N].
        least: What an estimate must rest on; one that has less is refused.
        resamples: Of the bootstrap.
        confidence: Of the intervals.
        seed: Of the resamples.
    """
    return [_estimate(one, logged, least, resamples, confidence, seed) for one in sums]


def _estimate(
    one: Sums, logged: np.ndarray, least: Least, resamples: int, confidence: float, seed: int
) -> PolicyEstimate:
    interval = change = None
    refused = thin_support(one.weights, least.pages) or few_clicks(one, logged, least.clicks)
    if not refused:
        count = len(logged)
        statistics = ratio_of_sums(one.tops, one.bottoms), ratio_of_sums(logged, np.ones(count))
        value, before = (value_of(statistic, count) for statistic in statistics)
        draws, draws_before = (
            resampled(statistic, count, resamples, np.random.default_rng(seed)) for statistic in statistics
        )
        if min(value, draws.min(), draws_before.min()) > 0:
            degrees = effective_clicks(one) - 1
            interval = log_interval(value, draws, confidence, degrees)
            ratio = log_interval(value / before, draws / draws_before, confidence, degrees)
            change = Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1)
        else:
            refused = "the estimate is not above zero in some resamples; log more pages, or mend the model of clicks"
    return PolicyEstimate(
        estimator=one.name,
        interval=interval,
        change=change,
        effective_samples=effective_samples(one.weights),
        refused=refused,
    )


def effective_samples(weights: np.ndarray) -> float:
    """Kish's effective sample size, (sum of weights)^2 / sum of squares; of slates that of the worst position.

    Args:
        weights: float64 [N] or [N, positions].
    """
    columns = weights.reshape(len(weights), -1)
    squares = (columns**2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        samples = np.where(squares > 0, columns.sum(0) ** 2 / squares, 0.0)
    return float(samples.min())


def thin_support(weights: np.ndarray, least_samples: float) -> str:
    """Why these weights say nothing about the other policy; empty where they do."""
    samples = effective_samples(weights)
    if samples < least_samples:
        return (
            f"{len(weights):,} pages say as much as {samples:,.0f} that weigh alike, and {least_samples:,.0f} are "
            "asked for: the policies are too far apart; log more pages, or estimate one that is nearer to the logged"
        )
    columns = weights.reshape(len(weights), -1)
    means, errors = columns.mean(0), columns.std(0) / np.sqrt(len(weights))
    worst = int(np.argmax(np.abs(means - 1) - _FAR * errors))
    if abs(means[worst] - 1) > _FAR * errors[worst] + 1e-6:
        return (
            f"weights average {means[worst]:.3f} and not 1: the policy shows what the log never has, or propensities "
            "are wrong; log what it shows at times, or correct them"
        )
    return ""


def few_clicks(one: Sums, logged: np.ndarray, least_clicks: float) -> str:
    """Why the clicks are too few for an interval; empty where they are not.

    Args:
        one: The estimate.
        logged: What each page of the log earned, float64 [N].
        least_clicks: How many that weigh alike are asked for, of the policy and of the log.
    """
    fewer = min(effective_clicks(one), effective_samples(logged))
    if fewer >= least_clicks:
        return ""
    return (
        f"{int((one.clicks > 0).sum()):,} clicks say as much as {fewer:,.0f} that weigh alike, and {least_clicks:,.0f} "
        "are asked for; log more pages"
    )


def effective_clicks(one: Sums) -> float:
    """How many clicks that weigh alike would say as much as those of an estimate."""
    return effective_samples((one.weights * one.clicks).ravel())
