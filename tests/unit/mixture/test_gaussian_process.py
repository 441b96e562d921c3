"""The Gaussian process, against scikit-learn's."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from megatron_redone.mixture.gaussian_process import _cost, fit_gaussian_process, log_likelihood
from tests.helpers import response_surfaces as surfaces


def test_likelihood_and_prediction_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    seen, unseen = random.dirichlet(np.ones(4), 30), random.dirichlet(np.ones(4), 20)
    losses = surfaces.transfer(4, 0)(seen)
    fitted = fit_gaussian_process(seen, losses, np.array([0.5, 0.5]))
    signal, noise = np.exp(fitted._parameters[0]), np.exp(fitted._parameters[-1])
    kernel = ConstantKernel(signal) * Matern(np.exp(fitted._parameters[1:-1]), nu=2.5) + WhiteKernel(noise)
    theirs = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=None)
    total = losses @ [0.5, 0.5]
    values = (total - total.mean()) / total.std()
    theirs.fit(np.sqrt(seen), values)
    assert log_likelihood(np.sqrt(seen), values, fitted._parameters) == pytest.approx(
        theirs.log_marginal_likelihood_value_, rel=1e-6
    )
    expected = total.mean() + total.std() * theirs.predict(np.sqrt(unseen))
    np.testing.assert_allclose(fitted.predict(unseen), expected, rtol=1e-6)


def test_slopes_are_those_of_the_values() -> None:
    seen = np.random.default_rng(1).dirichlet(np.ones(4), 25)
    losses = surfaces.transfer(4, 1)(seen)
    fitted = fit_gaussian_process(seen, losses, np.array([0.5, 0.5]))
    numeric = approx_fprime(seen[3], lambda w: float(fitted.predict(w[None])[0]), 1e-7)
    np.testing.assert_allclose(fitted.gradient(seen[3]), numeric, rtol=1e-3, atol=1e-5)
    values, start = losses[:, 0] - losses[:, 0].mean(), np.array([0.1, 0.2, -0.1, 0.0, 0.3, -3.0])
    numeric = approx_fprime(start, lambda p: _cost(p, np.sqrt(seen), values)[0], 1e-7)
    np.testing.assert_allclose(_cost(start, np.sqrt(seen), values)[1], numeric, rtol=1e-3, atol=1e-3)
