"""Losses as log-linear functions of weights: `loss = c + exp(t . w)`, one for each target set.

Sources: Ye et al., "Data Mixing Laws" (arXiv 2403.16952); Olmix (arXiv 2602.12237), whose default it is. The weights
sum to 1, so that a constant within the exponent would say nothing more.
"""

import numpy as np

_FLOORS = (0.02, 0.1, 0.3, 1.0, 3.0, 10.0)  # where c begins: so many times the range of the losses below the least
_RIDGE = 1e-3


class LogLinear:
    """A weighted sum of log-linear losses; it is convex in the weights of parts."""

    def __init__(self, floors: np.ndarray, slopes: np.ndarray, target_weights: np.ndarray) -> None:
        """Takes c `[T]` and t `[T, P]` of T target sets, and the weights of these in the sum, `[T]`."""
        self._floors, self._slopes, self._target_weights = floors, slopes, target_weights

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """The weighted loss of mixtures `[N, P]`: `[N]`."""
        return (self._floors + np.exp(weights @ self._slopes.T)) @ self._target_weights

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """Of the weighted loss at one mixture `[P]`: `[P]`."""
        return (self._target_weights * np.exp(self._slopes @ weights)) @ self._slopes


def fit_log_linear(weights: np.ndarray, losses: np.ndarray, target_weights: np.ndarray) -> LogLinear:
    """Least squares, from several floors to begin with.

    Args:
        weights: Mixtures, `[N, P]`.
        losses: Of each target set, `[N, T]`.
        target_weights: Of the target sets in the loss that counts, `[T]`.
    """
    found = [_fit_one(weights, losses[:, target]) for target in range(losses.shape[1])]
    return LogLinear(np.array([c for c, _ in found]), np.array([t for _, t in found]), target_weights)


def _fit_one(weights: np.ndarray, losses: np.ndarray) -> tuple[float, np.ndarray]:
    from scipy.optimize import least_squares

    spread = float(np.ptp(losses)) or 1e-6
    scale = float(losses.std()) or 1e-6

    def residuals(parameters: np.ndarray) -> np.ndarray:
        slopes = parameters[1:]
        errors = (parameters[0] + np.exp(weights @ slopes) - losses) / scale
        return np.append(errors, _RIDGE * (slopes - slopes.mean()))  # holds what the data leaves open

    def jacobian(parameters: np.ndarray) -> np.ndarray:
        slopes = parameters[1:]
        inner = np.exp(weights @ slopes)[:, None] * weights
        ridge = _RIDGE * (np.eye(len(slopes)) - 1 / len(slopes))
        above = np.hstack([np.ones((len(losses), 1)), inner]) / scale
        return np.vstack([above, np.hstack([np.zeros((len(slopes), 1)), ridge])])

    best = None
    for floor in _FLOORS:
        c = float(losses.min()) - floor * spread
        slopes = np.linalg.lstsq(weights, np.log(losses - c), rcond=None)[0]
        fit = least_squares(residuals, np.append(c, slopes), jac=jacobian, method="lm", max_nfev=2000)  # type: ignore[arg-type]
        if best is None or fit.cost < best.cost:
            best = fit
    assert best is not None
    return float(best.x[0]), best.x[1:]
