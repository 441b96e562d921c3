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

from megatron_redone.evaluation.bootstrap import Interval, percentile_interval, ratio_of_sums, resampled, value_of

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
    """Pages that show several suggestions, for one other policy; pages with fewer positions end in zeros.

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
    """An estimate as a ratio of sums over pages: float64 [N] each, and the weights that it rests on, [N] or [N, L]."""

    name: str
    tops: np.ndarray
    bottoms: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PolicyEstimate:
    """An estimate of clicks a page.

    Attributes:
        estimator: Its name.
        interval: The value and its bounds; None where it is refused.
        effective_samples: How many pages that weigh alike would say as much.
        refused: Why it is; empty where it is not.
    """

    estimator: str
    interval: Interval | None
    effective_samples: float
    refused: str


def single_estimators(log: SingleLog, switch_above: float) -> list[Sums]:
    """IPS, SNIPS, DR and switch-DR.

    Args:
        log: The pages.
        switch_above: The weight above which switch-DR trusts the model alone.
    """
    pages = np.ones(len(log.clicks))
    beyond = log.clicks - log.expected_shown
    trusted = np.where(log.weights <= switch_above, log.weights, 0.0)
    return [
        Sums(name="ips", tops=log.weights * log.clicks, bottoms=pages, weights=log.weights),
        Sums(name="snips", tops=log.weights * log.clicks, bottoms=log.weights, weights=log.weights),
        Sums(name="dr", tops=log.expected_policy + log.weights * beyond, bottoms=pages, weights=log.weights),
        Sums(name="switch_dr", tops=log.expected_policy + trusted * beyond, bottoms=pages, weights=log.weights),
    ]


def slate_estimators(log: SlateLog) -> list[Sums]:
    """Independent and reward-interaction IPS, as far as the log has their probabilities."""
    pages = np.ones(len(log.clicks))
    kinds = {"independent_ips": log.own_weights, "reward_interaction_ips": log.path_weights}
    return [
        Sums(name=name, tops=(weights * log.clicks).sum(1), bottoms=pages, weights=weights)
        for name, weights in kinds.items()
        if weights is not None
    ]


def estimate_policy(
    sums: Sequence[Sums], *, least_samples: float, resamples: int, confidence: float, seed: int
) -> list[PolicyEstimate]:
    """Values with bootstrap intervals over pages.

    Args:
        sums: Of `single_estimators` or `slate_estimators`.
        least_samples: The effective sample size below which an estimate is refused.
        resamples: Of the bootstrap.
        confidence: Of the intervals.
        seed: Of the resamples.
    """
    found = []
    for one in sums:
        samples, refused = effective_samples(one.weights), thin_support(one.weights, least_samples)
        interval = None
        if not refused:
            statistic, count = ratio_of_sums(one.tops, one.bottoms), len(one.tops)
            draws = resampled(statistic, count, resamples, np.random.default_rng(seed))
            interval = percentile_interval(value_of(statistic, count), draws, confidence)
        found.append(PolicyEstimate(estimator=one.name, interval=interval, effective_samples=samples, refused=refused))
    return found


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
            "asked for: the policies are too far apart"
        )
    columns = weights.reshape(len(weights), -1)
    means, errors = columns.mean(0), columns.std(0) / np.sqrt(len(weights))
    worst = int(np.argmax(np.abs(means - 1) - _FAR * errors))
    if abs(means[worst] - 1) > _FAR * errors[worst] + 1e-6:
        return (
            f"weights average {means[worst]:.3f} and not 1: the policy shows what the log never has, or propensities "
            "are wrong"
        )
    return ""
