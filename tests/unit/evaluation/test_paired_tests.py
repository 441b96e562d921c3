"""Paired tests against scipy's and statsmodels', and the least difference against simulations."""

import itertools

import numpy as np
import pytest

from megatron_redone.evaluation.bootstrap import ratio_of_sums, resampled, zero_p_value
from megatron_redone.evaluation.paired_tests import (
    LEVEL,
    holm,
    least_difference,
    least_mcnemar_difference,
    mcnemar_p_value,
    mcnemar_power,
)

stats = pytest.importorskip("scipy.stats")


def test_mcnemar_is_that_of_statsmodels_and_of_scipy() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for first, second in [*itertools.product(range(6), range(6)), (0, 40), (300, 361), (4000, 4321)]:
        ours = mcnemar_p_value(first, second)
        theirs = tables.mcnemar([[7, first], [second, 11]], exact=True).pvalue
        assert ours == pytest.approx(theirs, rel=1e-9)
        if first + second:
            assert ours == pytest.approx(stats.binomtest(first, first + second).pvalue, rel=1e-9)


def test_holm_is_that_of_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    random = np.random.default_rng(0)
    for count in (1, 2, 7, 40):
        p_values = random.beta(0.3, 1, count)
        p_values[: count // 3] = p_values[0]  # ties
        theirs = multitest.multipletests(p_values, method="holm")[1]
        np.testing.assert_allclose(holm(p_values.tolist()), theirs, rtol=1e-12)


def test_power_is_that_of_every_outcome_summed_by_scipy() -> None:
    """All tables of 30 examples, each with its probability and scipy's test."""
    first, second = np.array([pair for pair in itertools.product(range(31), range(31)) if 0 < sum(pair) <= 30]).T
    p_values = 2 * stats.binom.cdf(np.minimum(first, second), first + second, 0.5)
    rejected = p_values <= LEVEL
    counts = np.stack([first, second, 30 - first - second], 1)[rejected]
    for discordance, difference in ((0.3, 0.2), (0.5, 0.5), (0.9, 0.0)):
        better, worse = (discordance + difference) / 2, (discordance - difference) / 2
        power = stats.multinomial.pmf(counts, 30, [better, worse, 1 - discordance]).sum()
        assert mcnemar_power(30, discordance, difference) == pytest.approx(power, abs=1e-5)


def test_power_over_some_numbers_of_discordant_examples_is_that_over_all() -> None:
    """Of 2,000 examples only some numbers are looked at: summed here over all of them."""
    examples, discordance, difference = 2000, 0.2, 0.03
    share = (discordance + difference) / (2 * discordance)
    power = 0.0
    for number in range(examples + 1):
        weight = stats.binom.pmf(number, examples, discordance)
        if weight > 1e-12:
            p_values = 2 * stats.binom.cdf(np.arange(number + 1), number, 0.5)
            rejected = np.minimum(p_values, p_values[::-1]) <= LEVEL
            power += weight * stats.binom.pmf(np.arange(number + 1), number, share)[rejected].sum()
    assert mcnemar_power(examples, discordance, difference) == pytest.approx(power, abs=0.005)


def test_the_least_difference_is_where_power_is_reached() -> None:
    """With the largest discordance that statsmodels' Wilson interval leaves possible."""
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for examples, discordant in ((20, 8), (200, 20), (1000, 300)):
        least = least_mcnemar_difference(examples, discordant)
        _, discordance = proportion.proportion_confint(discordant, examples, alpha=0.2, method="wilson")
        assert least is not None
        assert mcnemar_power(examples, max(least, discordance), least) >= 0.8
        assert mcnemar_power(examples, max(0.98 * least, discordance), 0.98 * least) < 0.8


def test_a_planted_difference_of_the_least_size_is_found_and_none_without() -> None:
    """5,000 evaluations each on 400 items, where another 400 items said how often one model alone is right."""
    random = np.random.default_rng(2)
    discordance = 0.25
    least = least_mcnemar_difference(400, int(random.binomial(400, discordance)))
    assert least is not None
    found = {}
    for planted in (0.0, least):
        kinds = [(discordance - planted) / 2, (discordance + planted) / 2, 1 - discordance]
        drawn = random.multinomial(400, kinds, 5000)
        found[planted] = sum(mcnemar_p_value(one, two) <= LEVEL for one, two, _ in drawn.tolist())
    assert found[least] >= 4000 and found[0.0] <= 250, found


def test_a_planted_difference_is_found_by_the_paired_bootstrap_too() -> None:
    random = np.random.default_rng(3)
    spread, examples = 0.4, 200
    pilot = resampled(ratio_of_sums(random.gamma(2, spread, examples), np.ones(examples)), examples, 400, random)
    least = least_difference(float(np.std(pilot)), examples)
    assert least is not None
    found = {0.0: 0, least: 0}
    for planted in found:
        for _ in range(200):
            change = random.gamma(2, spread, examples) - 2 * spread + planted
            draws = resampled(ratio_of_sums(change, np.ones(examples)), examples, 400, random)
            found[planted] += zero_p_value(draws) <= LEVEL
    assert found[least] >= 160 and found[0.0] <= 14, found


def test_few_examples_show_no_difference() -> None:
    """Five right against five wrong is 0.0625; of six it takes all."""
    assert mcnemar_p_value(5, 0) > LEVEL >= mcnemar_p_value(6, 0)
    assert least_mcnemar_difference(5, 1) is None
    assert least_mcnemar_difference(6, 0) == pytest.approx(0.8 ** (1 / 6), abs=2e-6)
    assert least_difference(0.0, 10) is None


def test_the_normal_least_difference_is_that_of_statsmodels() -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    effect = power.NormalIndPower(ddof=0).solve_power(nobs1=100, alpha=0.05, power=0.8, ratio=0)
    assert least_difference(1 / np.sqrt(100), 10**12) == pytest.approx(effect, rel=1e-4)
