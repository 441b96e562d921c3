"""Which regression is believed: the one that ranks best the mixtures that none of them has seen."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from megatron_redone.mixture.boosted_trees import fit_boosted_trees, has_lightgbm
from megatron_redone.mixture.design import Design
from megatron_redone.mixture.gaussian_process import fit_gaussian_process
from megatron_redone.mixture.log_linear import fit_log_linear
from megatron_redone.mixture.proposer import Regression

_Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Regression]

LOG_LINEAR, GAUSSIAN_PROCESS, BOOSTED_TREES = "log-linear", "Gaussian process", "LightGBM"


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
    kinds: dict[str, _Fit] = {LOG_LINEAR: fit_log_linear, GAUSSIAN_PROCESS: fit_gaussian_process}
    if has_lightgbm():
        kinds[BOOSTED_TREES] = fit_boosted_trees
    fitted = [_fitted(name, fit, design, losses, target_weights) for name, fit in kinds.items()]
    return sorted(fitted, key=lambda one: (-round(one.rank_correlation, 6), one.error))


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
