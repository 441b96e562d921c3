"""Whether two models differ on the same examples, and how large a difference that many examples can show.

- McNemar's exact test for examples that are right or wrong: of those that one model alone has right, as many should be
  either's (McNemar, Psychometrika 12, 1947; exact as in statsmodels.stats.contingency_tables.mcnemar).
- Holm's procedure where many differences are looked at (Scandinavian Journal of Statistics 6, 1979).
- The least difference: what a test at level 5 % finds in 80 of 100 repetitions at least. For right and wrong it is that
  of McNemar's exact test; for other metrics that of Student's t with the standard error of the paired bootstrap. How
  much examples scatter is known from these examples alone, so its upper limit is taken (`upper_limit.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from megatron_redone.evaluation.bootstrap import student_quantile
from megatron_redone.evaluation.upper_limit import CAUTION, upper_limit

LEVEL = 0.05
POWER = 0.8

_PLACES = 61  # numbers of discordant examples over which power is averaged
_SPREAD = 5.0  # standard deviations around the expected number that they span
_STEPS = 20  # of the search for a difference: to 1e-6


def mcnemar_p_value(first_alone: int, second_alone: int) -> float:
    """The two-sided p-value of McNemar's exact test.

    Args:
        first_alone: Examples that the first model alone has right.
        second_alone: Examples that the second alone has right.
    """
    discordant = first_alone + second_alone
    fewer = min(first_alone, second_alone)
    log_tail = np.logaddexp.reduce(_log_binomial(discordant, 0.5)[: fewer + 1])
    return min(1.0, 2 * math.exp(log_tail))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of a family of tests, adjusted so that all below a level hold together at that level.

    Returns:
        In the order given, each at least as large as it was and at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    remaining = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, float)[order] * remaining))
    result = np.empty(len(p_values))
    result[order] = adjusted
    return result.tolist()


def least_difference(standard_error: float, examples: int, degrees: float | None = None) -> float | None:
    """The least true difference that is found with probability `POWER` at `LEVEL`.

    Args:
        standard_error: Of the paired difference; 0 where all draws are alike, which tells nothing.
        examples: From how many it was taken.
        degrees: Of freedom of Student's t; a normal estimate without.

    Returns:
        In the metric's unit; None where nothing can be said.
    """
    normal = NormalDist()
    reach = normal.inv_cdf(1 - LEVEL / 2) if degrees is None else student_quantile(1 - LEVEL / 2, degrees)
    factor = reach + normal.inv_cdf(POWER)
    return factor * standard_error * (1 + CAUTION / math.sqrt(2 * examples)) or None


def least_mcnemar_difference(examples: int, discordant: int) -> float | None:
    """The least true difference in the fraction right that McNemar's exact test finds with probability `POWER`.

    Args:
        examples: How many both models are given.
        discordant: How many one model alone has right; a difference cannot be larger than their fraction, so larger
            differences are looked at with as much discordance as they need.

    Returns:
        A fraction of the examples; None where even the largest difference would not be found.
    """
    if mcnemar_power(examples, 1.0, 1.0) < POWER:
        return None
    discordance = upper_limit(discordant, examples)
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if mcnemar_power(examples, max(discordance, middle), middle) < POWER:
            low = middle
        else:
            high = middle
    return high


def mcnemar_power(examples: int, discordance: float, difference: float) -> float:
    """How likely McNemar's exact test at `LEVEL` finds a difference.

    Args:
        examples: How many both models are given.
        discordance: The fraction that one model alone has right.
        difference: The fraction that the better model has right, less that of the other; at most `discordance`.
    """
    if discordance <= 0:
        return 0.0
    share = min(1.0, (discordance + difference) / (2 * discordance))
    numbers, weights = _likely_numbers(examples, min(1.0, discordance))
    outcomes = _rejected(tuple(numbers.tolist()))
    with np.errstate(divide="ignore", invalid="ignore"):
        misses = np.where(outcomes.wrong == 0, 0.0, outcomes.wrong * np.log1p(-share))
        hits = np.where(outcomes.right == 0, 0.0, outcomes.right * np.log(share))
    powers = np.bincount(outcomes.owner, np.exp(outcomes.log_ways + hits + misses), minlength=len(numbers))
    return float(powers @ weights)


@dataclass(frozen=True)
class _Outcomes:
    """Counts with which the test rejects: [M] each.

    Attributes:
        owner: The place of the number of discordant examples.
        right: How many of them the better model has right.
        wrong: How many the other has.
        log_ways: The logarithm of how many ways there are to that.
    """

    owner: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    log_ways: np.ndarray


@lru_cache(maxsize=8)
def _rejected(numbers: tuple[int, ...]) -> _Outcomes:
    """Of each number of discordant examples the counts at either end."""
    parts = []
    for owner, number in enumerate(numbers):
        critical = _critical_number(number)
        right = np.concatenate([np.arange(critical + 1), np.arange(number - critical, number + 1)])
        parts.append((np.full(len(right), owner), right, number - right, _log_choices(number)[right]))
    return _Outcomes(*map(np.concatenate, zip(*parts, strict=True)))


def _critical_number(discordant: int) -> int:
    """The largest smaller count at which the test rejects; -1 where there is none."""
    tails = 2 * np.exp(np.logaddexp.accumulate(_log_binomial(discordant, 0.5)[: discordant // 2 + 1]))
    return int(np.searchsorted(tails, LEVEL, side="right")) - 1


def _likely_numbers(trials: int, probability: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that a binomial variable takes, evenly spread over what is likely, and their weights, of sum 1."""
    reach = _SPREAD * math.sqrt(trials * probability * (1 - probability)) + 1
    low = max(0, math.floor(trials * probability - reach))
    high = min(trials, math.ceil(trials * probability + reach))
    numbers = np.unique(np.linspace(low, high, min(_PLACES, high - low + 1)).round().astype(int))
    weights = np.exp(_log_binomial(trials, probability)[numbers])
    return numbers, weights / weights.sum()


def _log_binomial(trials: int, probability: float) -> np.ndarray:
    """The logarithm of the probability of 0, 1, ... `trials` successes, float64 [trials + 1]."""
    successes = np.arange(trials + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        hits = np.where(successes == 0, 0.0, successes * np.log(probability))
        misses = np.where(successes == trials, 0.0, (trials - successes) * np.log1p(-probability))
    return _log_choices(trials) + hits + misses


def _log_choices(trials: int) -> np.ndarray:
    """The logarithm of how many ways there are to choose 0, 1, ... of `trials`, float64 [trials + 1]."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    return factorials[-1] - factorials - factorials[::-1]
