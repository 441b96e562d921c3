"""Which regression is believed."""

import numpy as np
from scipy.stats import spearmanr

from megatron_redone.mixture.boosted_trees import fit_boosted_trees
from megatron_redone.mixture.design import make_design
from megatron_redone.mixture.regressions import BOOSTED_TREES, GAUSSIAN_PROCESSES, LOG_LINEAR, fit_all, in_order
from tests.helpers import response_surfaces as surfaces

TARGET_WEIGHTS = np.array([0.5, 0.5])


def test_kept_out_mixtures_judge_and_are_not_seen() -> None:
    space = surfaces.space(5, 0)
    design = make_design(space, 40, 10, seed=0)
    losses = surfaces.log_linear(5, 0)(design.weights)
    fitted = fit_all(design, losses, TARGET_WEIGHTS)
    assert {one.name for one in fitted} == {LOG_LINEAR, GAUSSIAN_PROCESSES, BOOSTED_TREES}
    assert [one.rank_correlation for one in fitted] == sorted((one.rank_correlation for one in fitted), reverse=True)
    for one in fitted:
        measured = losses[design.kept_out] @ TARGET_WEIGHTS
        assert one.rank_correlation == spearmanr(one.predicted[design.kept_out], measured).statistic
    spoiled = losses + 100 * design.kept_out[:, None]
    for after in fit_all(design, spoiled, TARGET_WEIGHTS):
        before = next(one for one in fitted if one.name == after.name)
        np.testing.assert_allclose(before.predicted, after.predicted)
        assert before.error < after.error


def test_mixtures_that_diverged_are_left_out() -> None:
    design = make_design(surfaces.space(5, 0), 40, 10, seed=0)
    losses = surfaces.log_linear(5, 0)(design.weights)
    losses[[7, int(np.flatnonzero(design.kept_out)[0])]] = np.nan
    for one in fit_all(design, losses, TARGET_WEIGHTS):
        assert np.isnan(one.predicted).sum() == 2 and np.isfinite(one.rank_correlation)


def test_losses_that_are_all_alike_rank_nothing() -> None:
    design = make_design(surfaces.space(5, 0), 30, 10, seed=0)
    assert fit_all(design, np.ones((30, 1)), np.ones(1))[0].rank_correlation <= 0


def test_trees_are_the_same_again() -> None:
    design = make_design(surfaces.space(5, 0), 40, 10, seed=0)
    losses = surfaces.transfer(5, 0)(design.weights)
    one, other = (fit_boosted_trees(design.weights, losses, TARGET_WEIGHTS).predict(design.weights) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert spearmanr(one, losses @ TARGET_WEIGHTS).statistic > 0.95


def test_ranks_that_are_not_told_apart_leave_the_choice_to_the_error() -> None:
    """With 16 mixtures 0.985 is no better than 0.982; 0.96 is better than 0.62."""
    assert in_order([(0.985, 0.035), (0.982, 0.019)], 16, "ab") == ["b", "a"]
    assert in_order([(0.624, 0.01), (0.962, 0.05)], 16, "ab") == ["b", "a"]
    assert in_order([(0.95, 0.01), (1.0, 0.05)], 5, "ab") == ["a", "b"], "five say little"
    assert in_order([(0.2, 0.3), (0.9, 0.2), (-1.0, 0.1)], 3, "abc") == ["c", "b", "a"], "three say nothing"
    assert in_order([(-1.0, 0.0), (0.9, 0.2)], 64, "ab") == ["b", "a"]
