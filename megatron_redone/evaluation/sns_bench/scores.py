"""A score as a function of sums over items, so that a bootstrap resamples counts and never an answer.

What an item adds to each sum is kept with the item. A score is taken of whole sums or of many resampled ones at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Counts = dict[str, float]
"""What an item adds to each sum."""

Sums = Mapping[str, np.ndarray]
"""Sums of counts, each float64 [...]."""

LEVELS = ("-1", "0", "1", "2", "3")


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """How a subset is scored.

    Attributes:
        names: Of the counts.
        count: Takes a prediction and the gold answer; gives what the item adds, `items` and `parsed` among it.
        combine: Takes sums [...], gives scores float64 [...] between 0 and 1.
        reading: What is read of a prediction, as text; None where it does not parse.
    """

    names: Sequence[str]
    count: Callable[[str, Any], Counts]
    combine: Callable[[Sums], np.ndarray]
    reading: Callable[[str], str | None]

    def score(self, counts: Sequence[Counts]) -> float:
        """Of all items, between 0 and 1; 0 where there is none."""
        return float(self.combine(sums_of(counts)))


def sums_of(counts: Sequence[Mapping[str, Any]]) -> Sums:
    """The sum of every count of items that have the same."""
    names = [name for name, value in counts[0].items() if not isinstance(value, str | None)]
    return {name: np.array(sum(count[name] for count in counts), float) for name in names}


def divided(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """A quotient; 0 where nothing is divided by nothing."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom != 0)


def accuracy(sums: Sums) -> np.ndarray:
    """Right answers of all."""
    return divided(sums["right"], sums["items"])


def parsed_share(sums: Sums) -> np.ndarray:
    """The share of the predictions that parse."""
    return divided(sums["parsed"], sums["items"])


def binary_f1(sums: Sums) -> np.ndarray:
    """F1 of saying that there is an answer: counts `both`, `answered` and `answerable`."""
    return divided(2 * sums["both"], sums["answered"] + sums["answerable"])


def set_counts(found: frozenset[str], gold: frozenset[str]) -> Counts:
    """What a set of strings adds to micro-F1."""
    return {"hits": len(found & gold), "found": len(found), "gold": len(gold)}


def level_counts(found: str | None, gold: str) -> Counts:
    """For each level whether it is found, whether it is right, and whether it is both."""
    return {
        f"{part}{level}": float(value)
        for level in LEVELS
        for part, value in (
            ("hits", found == gold == level),
            ("found", found == level),
            ("gold", gold == level),
        )
    }
