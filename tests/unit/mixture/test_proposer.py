"""The best mixture under penalty and caps: exact where the surface is convex, and on known surfaces near the best."""

import numpy as np
import pytest
from scipy.optimize import minimize

from megatron_redone.mixture.log_linear import LogLinear
from megatron_redone.mixture.proposer import divergence, propose
from megatron_redone.mixture.regressions import LOG_LINEAR
from megatron_redone.mixture.search_space import within_caps
from tests.helpers import response_surfaces as surfaces

PARTS, TARGET_WEIGHTS = 6, surfaces.TARGET_WEIGHTS


@pytest.mark.parametrize("kl_weight", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_a_convex_optimum_is_exact(seed: int, kl_weight: float) -> None:
    random, space = np.random.default_rng(seed), surfaces.space(PARTS, seed, cap=0.45)
    regression = LogLinear(random.uniform(1, 2, 2), random.normal(0, 1.5, (2, PARTS)), TARGET_WEIGHTS)
    found = propose(regression, space, kl_weight, seed=0)

    def objective(weights: np.ndarray) -> float:
        return float(regression.predict(weights[None])[0] + kl_weight * divergence(weights, space.prior))

    theirs = min(
        (
            minimize(
                objective, start, bounds=[(1e-9, 0.45)] * PARTS, options={"ftol": 1e-13, "maxiter": 2000},
                constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1}],
            )
            for start in within_caps(random.dirichlet(np.ones(PARTS), 3), space.caps)
        ), key=lambda result: result.fun,
    )  # fmt: skip
    assert found.weights.sum() == pytest.approx(1) and (found.weights <= space.caps + 1e-9).all()
    assert objective(found.weights) <= theirs.fun + 1e-6
    assert found.gap is not None and -1e-9 <= found.gap < 1e-5
    assert found.divergence == pytest.approx(float(divergence(found.weights, space.prior)))


def test_a_great_penalty_leads_to_the_prior() -> None:
    space = surfaces.space(PARTS, 1, cap=1.0)
    regression = LogLinear(np.ones(2), np.random.default_rng(1).normal(0, 1, (2, PARTS)), TARGET_WEIGHTS)
    np.testing.assert_allclose(propose(regression, space, 1e4, seed=0).weights, space.prior, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_of_a_log_linear_surface_is_within_one_percent(seed: int) -> None:
    assert surfaces.gap(surfaces.log_linear(PARTS, seed), PARTS, seed)[0] < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_of_a_surface_that_is_not_log_linear_is_within_one_percent(seed: int) -> None:
    gap, name = surfaces.gap(surfaces.transfer(PARTS, seed), PARTS, seed)
    assert gap < 0.01 and name != LOG_LINEAR


def test_without_a_gradient_the_best_of_many_are_averaged_within_the_caps() -> None:
    space = surfaces.space(PARTS, 2, cap=0.4)

    class Steps:
        def predict(self, weights: np.ndarray) -> np.ndarray:
            return np.round(np.abs(weights - 1 / PARTS).sum(axis=1), 1)

    found = propose(Steps(), space, 0.0, seed=0)
    assert found.gap is None and (found.weights <= space.caps + 1e-9).all()
    np.testing.assert_allclose(found.weights, 1 / PARTS, atol=0.05)
