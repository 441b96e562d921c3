"""Gaussian processes, against scikit-learn's."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from megatron_redone.mixture.gaussian_process import _cost, fit_gaussian_processes, fit_process, log_likelihood
from tests.helpers import response_surfaces as surfaces


def test_likelihood_and_prediction_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    seen, unseen = random.dirichlet(np.ones(4), 30), random.dirichlet(np.ones(4), 20)
    values = surfaces.transfer(4, 0)(seen)[:, 0]
    fitted = fit_process(seen, values)
    signal, noise = np.exp(fitted.parameters[0]), np.exp(fitted.parameters[-1])
    kernel = ConstantKernel(signal) * Matern(np.exp(fitted.parameters[1:-1]), nu=2.5) + WhiteKernel(noise)
    theirs = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=None)
    scaled = (values - values.mean()) / values.std()
    theirs.fit(np.sqrt(seen), scaled)
    assert log_likelihood(np.sqrt(seen), scaled, fitted.parameters) == pytest.approx(
        theirs.log_marginal_likelihood_value_, rel=1e-6
    )
    expected = values.mean() + values.std() * theirs.predict(np.sqrt(unseen))
    np.testing.assert_allclose(fitted.predict(unseen), expected, rtol=1e-6)


def test_the_sum_is_that_of_the_sets() -> None:
    random = np.random.default_rng(2)
    seen, unseen = random.dirichlet(np.ones(4), 30), random.dirichlet(np.ones(4), 20)
    losses = surfaces.transfer(4, 0)(seen)
    alone = [fit_gaussian_processes(seen, losses[:, [one]], np.ones(1)).predict(unseen) for one in range(2)]
    both = fit_gaussian_processes(seen, losses, np.array([0.3, 0.7]))
    np.testing.assert_allclose(both.predict(unseen), 0.3 * alone[0] + 0.7 * alone[1], rtol=1e-9)


def test_a_set_that_no_source_helps_does_not_outweigh_the_others() -> None:
    """Two mixtures without any of a set's language have twice the loss; the others are ranked all the same."""
    random = np.random.default_rng(3)
    weights = np.vstack([np.eye(4), random.dirichlet(np.ones(4), 60)])
    losses = 5.0 - 1.5 * np.sqrt(weights[:, :2]) + 0.3 * weights[:, 2:3]
    losses[weights[:, 0] == 0, 0] = 12.0
    seen, unseen = np.arange(64) < 44, np.arange(64) >= 44
    fitted = fit_gaussian_processes(weights[seen], losses[seen], np.array([0.5, 0.5]))
    found, true = fitted.predict(weights[unseen]), losses[unseen] @ [0.5, 0.5]
    assert spearmanr(found, true)[0] > 0.97


def test_slopes_are_those_of_the_values() -> None:
    seen = np.random.default_rng(1).dirichlet(np.ones(4), 25)
    losses = surfaces.transfer(4, 1)(seen)
    fitted = fit_gaussian_processes(seen, losses, np.array([0.5, 0.5]))
    numeric = approx_fprime(seen[3], lambda w: float(fitted.predict(w[None])[0]), 1e-7)
    np.testing.assert_allclose(fitted.gradient(seen[3]), numeric, rtol=1e-3, atol=1e-5)
    values, start = losses[:, 0] - losses[:, 0].mean(), np.array([0.1, 0.2, -0.1, 0.0, 0.3, -3.0])
    numeric = approx_fprime(start, lambda p: _cost(p, np.sqrt(seen), values)[0], 1e-7)
    np.testing.assert_allclose(_cost(start, np.sqrt(seen), values)[1], numeric, rtol=1e-3, atol=1e-3)
