"""Percentile bootstrap: intervals, and the test that goes with them (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapters 13 and 15).

A model's distribution depends on the examples and the random numbers alone; two models that are evaluated on the same
examples with the same random numbers are resampled alike, so that the difference of their distributions is that of a
paired bootstrap.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from megatron_redone.evaluation.upper_limit import upper_limit

_DRAWN = 1 << 22  # random indices that exist at once: 32 MB
_LEAST_DEGREES = 5.0  # from which on the expansion of Student's t holds
_HALVINGS = 40

Statistic = Callable[[np.ndarray], np.ndarray]
"""From examples that are drawn, int64 [R, N] of their numbers, to one value a draw, float64 [R]."""


@dataclass(frozen=True)
class Interval:
    """A value and the bounds between which it lies with the chosen confidence."""

    value: float
    low: float
    high: float


def resampled(statistic: Statistic, count: int, resamples: int, random: np.random.Generator) -> np.ndarray:
    """A statistic of many draws of as many examples with replacement.

    Args:
        statistic: Is handed some draws at a time.
        count: How many examples there are.
        resamples: How many draws.
        random: Indices are taken from it draw by draw, as scipy.stats.bootstrap takes them.

    Returns:
        float64 [resamples].
    """
    parts = []
    for at in range(0, resamples, at_once := max(1, _DRAWN // count)):
        parts.append(statistic(random.integers(0, count, (min(at_once, resamples - at), count))))
    return np.concatenate(parts)


def ratio_of_sums(tops: np.ndarray, bottoms: np.ndarray) -> Statistic:
    """The ratio of two sums over examples.

    Args:
        tops: float64 [N], what each example adds to the upper sum.
        bottoms: float64 [N], what each adds to the lower one (1 for a mean).
    """
    return lambda chosen: tops[chosen].sum(1) / bottoms[chosen].sum(1)


def value_of(statistic: Statistic, count: int) -> float:
    """A statistic of the examples as they are."""
    return float(statistic(np.arange(count)[None])[0])


def percentile_interval(value: float, distribution: np.ndarray, confidence: float) -> Interval:
    """The part of a distribution that leaves out the same fraction at both ends.

    Args:
        value: The value itself.
        distribution: Of its resamples.
        confidence: The fraction that lies inside.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(distribution, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def log_interval(value: float, distribution: np.ndarray, confidence: float, degrees: float) -> Interval:
    """An interval of a rate, or of a ratio of rates, that is symmetric on the logarithmic scale.

    Its half width is a quantile of Student's t times the standard deviation of the resamples' logarithms. Where few
    examples carry the rate, a percentile interval is too short on the side where rare large ones are missing.

    Args:
        value: The value itself, above zero.
        distribution: Of its resamples, above zero.
        confidence: The fraction that lies inside.
        degrees: Degrees of freedom: how many examples carry the rate, less one.
    """
    reach = student_quantile(1 - (1 - confidence) / 2, degrees) * float(np.std(np.log(distribution)))
    return Interval(value, value * math.exp(-reach), value * math.exp(reach))


def student_quantile(probability: float, degrees: float) -> float:
    """A quantile of Student's t by its expansion around the normal one; to 1 % from five degrees of freedom on.

    Fewer than five are taken for five.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z, degrees = NormalDist().inv_cdf(probability), max(_LEAST_DEGREES, degrees)
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return z + sum(term / degrees ** (power + 1) for power, term in enumerate(terms))


def zero_p_value(distribution: np.ndarray) -> float:
    """The two-sided p-value of no difference: one less the confidence at which the interval just reaches zero.

    So many draws know it only so well: the upper limit is taken of the fraction at zero or beyond, lest a test at 5 %
    finds more than it may (of 400 draws 5 to 6 in 100 without a difference). No finite number of draws gives zero.

    Args:
        distribution: Of a difference, float64 [R].
    """
    fewer = min(int((distribution <= 0).sum()), int((distribution >= 0).sum()))
    return min(1.0, 2 * upper_limit(fewer, len(distribution)))


def degrees_of_freedom(influences: np.ndarray) -> float | None:
    """Of Student's t for a mean whose variance is estimated from few large contributions.

    2 v^2 / (variance of v), of the estimated variance v (Satterthwaite, Biometrics Bulletin 2, 1946): about as many as
    there are examples where they are normal, and far fewer where some long texts carry the difference.

    Args:
        influences: By how much each example moves the value, float64 [N].

    Returns:
        None where all contributions are alike.
    """
    squares = influences**2
    scatter = float((squares**2).sum() - squares.sum() ** 2 / len(squares))
    return 2 * float(squares.sum()) ** 2 / scatter if scatter > 0 else None


def student_p_value(p_value: float, degrees: float | None) -> float:
    """The two-sided p-value by Student's t of what a normal estimate gives another to.

    A bootstrap takes the variance of its examples for the true one. Where few of them carry it, a test at 5 % finds a
    difference in 6 to 7 of 100 samples without one.

    Args:
        p_value: By a normal estimate.
        degrees: Of freedom, taken to be five at least; None leaves the p-value as it is.
    """
    if degrees is None or p_value >= 1:
        return p_value
    reach = NormalDist().inv_cdf(1 - p_value / 2)
    low, high = p_value, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if student_quantile(1 - middle / 2, degrees) > reach:
            low = middle
        else:
            high = middle
    return high
