"""How proxies are spread."""

import numpy as np
import pytest

from megatron_redone.mixture.design import make_design, rounded
from tests.helpers.response_surfaces import space


@pytest.mark.parametrize("parts", [2, 6, 20])
def test_a_design_holds_every_part_alone_and_keeps_out_mixtures_alone(parts: int) -> None:
    design = make_design(space(parts, 1), 48, 12, seed=3)
    assert design.weights.shape == (48, parts)
    np.testing.assert_array_equal(design.weights[:parts], np.eye(parts))
    np.testing.assert_allclose(design.weights.sum(axis=1), 1)
    assert design.kept_out.sum() == 12 and not design.kept_out[:parts].any()
    again = make_design(space(parts, 1), 48, 12, seed=3)
    np.testing.assert_array_equal(design.weights, again.weights)
    assert (make_design(space(parts, 1), 48, 12, seed=4).weights != design.weights).any()


def test_few_parts_are_filled_more_evenly_than_by_chance() -> None:
    def nearest(weights: np.ndarray) -> float:
        roots = np.sqrt(weights)
        gaps = ((roots[:, None] - roots[None]) ** 2).sum(-1) + 9 * np.eye(len(roots))
        return float(gaps.min())

    design = make_design(space(4, 1), 36, 8, seed=0)
    by_chance = [nearest(np.random.default_rng(seed).dirichlet(np.ones(4), 32)) for seed in range(20)]
    assert nearest(design.weights[4:]) > 3 * max(by_chance)


def test_many_parts_stay_below_fifteen_times_the_prior() -> None:
    there = space(20, 1)
    mixing = make_design(there, 148, 16, seed=0).weights[20:]
    assert (mixing <= np.minimum(15 * there.prior, 1) + 1e-4).all()
    # RegMix's strengths reach from nearly one source to nearly the prior.
    sizes = (mixing**2).sum(axis=1)
    assert sizes.max() > 0.5 and sizes.min() < 0.2


def test_rounding_keeps_the_sum() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(7), 200)
    found = rounded(weights)
    np.testing.assert_allclose(found * 1e4, np.round(found * 1e4), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.abs(found - weights).max() < 1e-4
