"""Losses by LightGBM, as RegMix regresses them (arXiv 2407.01492): 1,000 rounds at a learning rate of 0.01."""

import importlib.util

import numpy as np

_ROUNDS = 1000


class BoostedTrees:
    """The weighted loss as a sum of trees, which has no gradient."""

    def __init__(self, booster: object) -> None:
        """Takes a trained LightGBM booster."""
        self._booster = booster

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """The weighted loss of mixtures `[N, P]`: `[N]`."""
        return np.asarray(self._booster.predict(weights, num_threads=1))  # type: ignore[attr-defined]


def has_lightgbm() -> bool:
    """Whether the library is installed."""
    return importlib.util.find_spec("lightgbm") is not None


def fit_boosted_trees(weights: np.ndarray, losses: np.ndarray, target_weights: np.ndarray) -> BoostedTrees:
    """Fits the weighted loss; the same input gives the same trees.

    There is no early stop: it would take proxies from the few that there are. Leaves are as small as these ask for.

    Args:
        weights: Mixtures, `[N, P]`.
        losses: Of each target set, `[N, T]`.
        target_weights: Of the target sets in the loss that counts, `[T]`.
    """
    import lightgbm

    settings = {
        **{"objective": "regression", "learning_rate": 0.01, "num_leaves": 8, "min_data_in_leaf": 3},
        **{"min_data_in_bin": 1, "verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True},
    }
    return BoostedTrees(lightgbm.train(settings, lightgbm.Dataset(weights, losses @ target_weights), _ROUNDS))
