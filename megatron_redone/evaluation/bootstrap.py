"""Percentile bootstrap intervals of ratios of sums (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

A model's distribution depends on the examples and the random numbers alone; two models that are evaluated on the same
examples with the same random numbers are resampled alike, so that the difference of their distributions is that of a
paired bootstrap.
"""

from dataclasses import dataclass

import numpy as np

_DRAWN = 1 << 22  # random indices that exist at once: 32 MB


@dataclass(frozen=True)
class Interval:
    """A value and the bounds between which it lies with the chosen confidence."""

    value: float
    low: float
    high: float


def resampled_ratios(tops: np.ndarray, bottoms: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """The ratio of two sums over examples, for many draws of as many examples with replacement.

    Args:
        tops: float64 [N], what each example adds to the upper sum.
        bottoms: float64 [N], what each adds to the lower one (1 for a mean).
        resamples: How many draws.
        random: Indices are taken from it draw by draw, as scipy.stats.bootstrap takes them.

    Returns:
        float64 [resamples].
    """
    count = len(tops)
    parts = []
    for at in range(0, resamples, at_once := max(1, _DRAWN // count)):
        chosen = random.integers(0, count, (min(at_once, resamples - at), count))
        parts.append(tops[chosen].sum(1) / bottoms[chosen].sum(1))
    return np.concatenate(parts)


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
