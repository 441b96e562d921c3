"""Weights of parts and of sources; caps, against a general optimiser."""

import numpy as np
import pytest
from scipy.optimize import minimize

from megatron_redone.mixture.search_space import space_of_sources, space_with_group, within_caps


@pytest.mark.parametrize("seed", range(5))
def test_the_cut_is_the_nearest_by_divergence(seed: int) -> None:
    random = np.random.default_rng(seed)
    weights, caps = random.dirichlet(np.ones(5)), random.uniform(0.21, 0.5, 5)
    found = within_caps(weights, caps)
    theirs = minimize(
        lambda w: np.sum(w * np.log(w / weights)), np.full(5, 0.2), bounds=[(1e-9, cap) for cap in caps],
        constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1}], options={"ftol": 1e-14, "maxiter": 1000},
    )  # fmt: skip
    assert found.sum() == pytest.approx(1) and (found <= caps + 1e-12).all()
    np.testing.assert_allclose(found, theirs.x, atol=1e-5)


def test_rows_are_cut_alone_and_caps_of_sum_one_leave_no_choice() -> None:
    random = np.random.default_rng(0)
    rows, caps = random.dirichlet(np.ones(4), 50), np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(within_caps(rows, caps), np.tile(caps, (50, 1)), atol=1e-9)
    wide = np.full(4, 0.5)
    np.testing.assert_allclose(within_caps(rows, wide), [within_caps(row, wide) for row in rows])


def test_a_group_keeps_its_ratios_and_the_cap_of_its_tightest_source() -> None:
    prior, caps = np.array([0.2, 0.3, 0.5]), np.array([0.3, 1.0, 0.4])
    space = space_with_group(["a", "new", "b"], prior, caps, {"a": 0.1, "b": 0.3})
    assert space.parts == ["a + b", "new"]
    np.testing.assert_allclose(space.mixture(np.array([0.8, 0.2])), [0.2, 0.2, 0.6])
    np.testing.assert_allclose(space.prior, [0.7, 0.3])
    np.testing.assert_allclose(space.caps, [0.4 / 0.75, 1.0])


def test_without_a_group_parts_are_sources() -> None:
    space = space_of_sources(["a", "b"], np.array([0.5, 0.5]), np.ones(2))
    np.testing.assert_allclose(space.mixture(np.array([[0.3, 0.7]])), [[0.3, 0.7]])
