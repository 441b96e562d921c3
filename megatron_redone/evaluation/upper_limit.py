"""What is known from a sample alone is taken at its upper limit.

Planned with the estimate itself, every second study has less power than it was given (Browne, Statistics in Medicine
14, 1995).
"""

import math
from statistics import NormalDist

CAUTION = NormalDist().inv_cdf(0.9)
"""Standard deviations by which the one-sided 90 % limit lies above an estimate."""


def upper_limit(found: int, examples: int) -> float:
    """The upper one-sided 90 % limit of a fraction (Wilson, J. of the American Statistical Association 22, 1927)."""
    fraction, square = found / examples, CAUTION**2 / examples
    centre = fraction + square / 2
    reach = math.sqrt(square * (fraction * (1 - fraction) + square / 4))
    return min(1.0, (centre + reach) / (1 + square))
