"""Which regression is believed: the one that ranks best the mixtures that none of them has seen.

Few mixtures are kept out, so that ranks alone decide little: among those whose rank correlations are not told apart,
the one with the least error is taken.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from megatron_redone.mixture.boosted_trees import fit_boosted_trees, has_lightgbm
from megatron_redone.mixture.design import Design
from megatron_redone.mixture.gaussian_process import fit_gaussian_processes
from megatron_redone.mixture.log_linear import fit_log_linear
from megatron_redone.mixture.proposer import Regression

_T = TypeVar("_T")
_MOST = 0.999  # of a correlation, whose transformed value would be infinite
_Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Regression]

LOG_LINEAR, GAUSSIAN_PROCESSES, BOOSTED_TREES = "log-linear", "Gaussian processes", "LightGBM"


@dataclass(frozen=True, kw_only=True)
class FittedRegression:
    """A regression and how well it ranks.

    Attributes:
        name: Of its kind.
        regression: Fitted to the mixtures that are not kept out.
        predicted: Its losses of all mixtures of the design, `[N]`; NaN where the mixture was left out.
        rank_correlation: Spearman's, between predicted and measured losses of those kept out; -1 where all are alike.
        error: Root mean square error over them.
    """

    name: str
    regression: Regression
    predicted: np.ndarray
    rank_correlation: float
    error: float


def fit_all(design: Design, losses: np.ndarray, target_weights: np.ndarray) -> list[FittedRegression]:
    """Fits every kind, the best first; LightGBM where it is installed.

    Args:
        design: The mixtures.
        losses: Measured, of each target set, `[N, T]`; a row of NaN for a mixture that is left out.
        target_weights: Of the target sets in the loss that counts, `[T]`.
    """
    kinds: dict[str, _Fit] = {LOG_LINEAR: fit_log_linear, GAUSSIAN_PROCESSES: fit_gaussian_processes}
    if has_lightgbm():
        kinds[BOOSTED_TREES] = fit_boosted_trees
    fitted = [_fitted(name, fit, design, losses, target_weights) for name, fit in kinds.items()]
    unseen = int((np.isfinite(losses).all(axis=1) & design.kept_out).sum())
    return in_order([(one.rank_correlation, one.error) for one in fitted], unseen, fitted)


def in_order(figures: Sequence[tuple[float, float]], unseen: int, of: Sequence[_T]) -> list[_T]:
    """The best first.

    Args:
        figures: Rank correlation and error of each.
        unseen: Over how many mixtures they were taken.
        of: What is sorted by them.
    """
    best = max(correlation for correlation, _ in figures)
    keys = [(_are_apart(best, correlation, unseen), error) for correlation, error in figures]
    return [of[place] for place in sorted(range(len(of)), key=lambda place: keys[place])]


def _are_apart(best: float, other: float, count: int) -> bool:
    """Whether rank correlations over so many values differ at level 5 %, by Fisher's transformation.

    The standard error of Spearman's is that of Fieller, Hartley and Pearson, "Tests for rank correlation coefficients",
    Biometrika 44 (1957).
    """
    if count <= 3:
        return False
    error = math.sqrt(2 * 1.06 / (count - 3))
    ends = [math.atanh(max(-_MOST, min(value, _MOST))) for value in (best, other)]
    return ends[0] - ends[1] > 1.96 * error


def _fitted(name: str, fit: _Fit, design: Design, losses: np.ndarray, target_weights: np.ndarray) -> FittedRegression:
    from scipy.stats import spearmanr

    is_measured = np.isfinite(losses).all(axis=1)
    seen, unseen = is_measured & ~design.kept_out, is_measured & design.kept_out
    regression = fit(design.weights[seen], losses[seen], target_weights)
    predicted = np.where(is_measured, regression.predict(design.weights), np.nan)
    measured = losses @ target_weights
    says_nothing = np.ptp(predicted[unseen]) == 0 or np.ptp(measured[unseen]) == 0
    correlation = -1.0 if says_nothing else float(spearmanr(predicted[unseen], measured[unseen])[0])  # type: ignore[arg-type]
    return FittedRegression(
        name=name,
        regression=regression,
        predicted=predicted,
        rank_correlation=correlation,
        error=float(np.sqrt(np.mean((predicted[unseen] - measured[unseen]) ** 2))),
    )
