"""The mixtures that anybody would have taken, trained beside the one that a search proposes, over several seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WINNER, PRIOR, PROPORTIONAL, UNIFORM, BEST_SINGLE = (
    *("predicted winner", "prior", "token-proportional", "uniform", "best single source"),
)
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Row:
    """One mixture of the table.

    Attributes:
        name: Of the mixture.
        weights: Of the sources, by name.
        losses: Of the target, by seed; those that did not diverge.
        mean: Of them.
        half_width: The 95 % interval of the mean is so much to either side (Student's t over the seeds).
        winner_minus: The predicted winner's loss minus this one's, seed by seed; None for the winner itself.
        winner_minus_half_width: Of its 95 % interval.
    """

    name: str
    weights: Mapping[str, float]
    losses: Mapping[int, float]
    mean: float
    half_width: float
    winner_minus: float | None
    winner_minus_half_width: float | None

    @property
    def verdict(self) -> str:
        """Who has the lower loss, as far as the seeds tell."""
        if self.winner_minus is None or self.winner_minus_half_width is None:
            return ""
        if abs(self.winner_minus) <= self.winner_minus_half_width or math.isnan(self.winner_minus_half_width):
            return "not told apart"
        return "the winner is better" if self.winner_minus < 0 else "this one is better"


def table(mixtures: Mapping[str, Mapping[str, float]], losses: Mapping[str, Mapping[int, float]]) -> list[Row]:
    """The mixtures in order of their mean loss.

    Args:
        mixtures: Weights of each, by name; the predicted winner among them.
        losses: Of each, by seed.
    """
    rows = [_row(name, weights, losses[name], losses[WINNER]) for name, weights in mixtures.items() if losses[name]]
    return sorted(rows, key=lambda row: row.mean)


def _row(name: str, weights: Mapping[str, float], own: Mapping[int, float], winner: Mapping[int, float]) -> Row:
    mean, half_width = mean_and_half_width(list(own.values()))
    difference: tuple[float | None, float | None] = (None, None)
    shared = [seed for seed in own if seed in winner]
    if name != WINNER and shared:
        difference = mean_and_half_width([winner[seed] - own[seed] for seed in shared])
    return Row(
        name=name,
        weights=weights,
        losses=own,
        mean=mean,
        half_width=half_width,
        winner_minus=difference[0],
        winner_minus_half_width=difference[1],
    )


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half of its 95 % interval by Student's t; NaN of a single value."""
    from scipy.stats import t

    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, math.nan
    deviation = float(np.std(values, ddof=1))
    return mean, float(t.ppf((1 + _CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)


def seed_noise(losses: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The deviation between seeds of one mixture, pooled over mixtures, and its degrees of freedom."""
    squares = sum(float(np.sum((np.array(own) - np.mean(own)) ** 2)) for own in losses if len(own) > 1)
    degrees = sum(len(own) - 1 for own in losses if len(own) > 1)
    return (math.sqrt(squares / degrees) if degrees else math.nan), degrees


def differ_by_more_than_seeds(measured: np.ndarray, noise: float, degrees: int) -> bool:
    """Whether the losses of different mixtures `[N]` scatter more than those of one.

    An F test at 5 %: at 1 % two seeds of two mixtures would call nearly everything noise.
    """
    from scipy.stats import f

    if not degrees or noise == 0:
        return float(np.ptp(measured)) > 0
    return bool(f.sf(np.var(measured, ddof=1) / noise**2, len(measured) - 1, degrees) < 0.05)


def as_json(row: Row) -> dict[str, Any]:
    """A row for mixture.json."""
    return {
        "name": row.name,
        "weights": dict(row.weights),
        "losses": {str(seed): loss for seed, loss in row.losses.items()},
        "mean": row.mean,
        "half_width": _finite(row.half_width),
        "winner_minus": row.winner_minus,
        "winner_minus_half_width": _finite(row.winner_minus_half_width),
        "verdict": row.verdict,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
