"""The log-linear fit finds what made the losses, and its slope is that of its values."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from megatron_redone.mixture.log_linear import fit_log_linear
from tests.helpers import response_surfaces as surfaces


@pytest.mark.parametrize("seed", range(4))
def test_exact_losses_are_found_again_each_target_by_itself(seed: int) -> None:
    truth, target_weights = surfaces.log_linear(5, seed), np.array([0.7, 0.3])
    random = np.random.default_rng(seed)
    seen, unseen = random.dirichlet(np.ones(5), 40), random.dirichlet(np.ones(5), 200)
    fitted = fit_log_linear(seen, truth(seen), target_weights)
    np.testing.assert_allclose(fitted.predict(unseen), truth(unseen) @ target_weights, atol=5e-3)


def test_the_gradient_is_that_of_the_prediction() -> None:
    seen = np.random.default_rng(0).dirichlet(np.ones(5), 40)
    fitted = fit_log_linear(seen, surfaces.log_linear(5, 0)(seen), np.array([0.5, 0.5]))
    numeric = approx_fprime(seen[0], lambda w: float(fitted.predict(w[None])[0]), 1e-7)
    np.testing.assert_allclose(fitted.gradient(seen[0]), numeric, rtol=1e-4, atol=1e-6)
