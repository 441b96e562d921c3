"""Comparisons of any two models: which test, and over which table."""

import numpy as np
import pytest

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.comparison import EvaluatedSource, estimate_rows
from megatron_redone.evaluation.metric_definitions import EXACT_MATCH, Kind
from megatron_redone.evaluation.paired_tests import LEVEL, holm, least_mcnemar_difference
from megatron_redone.evaluation.significance import BOOTSTRAP, MCNEMAR, Comparison, compare_models
from megatron_redone.evaluation.tables import sections
from tests.helpers.evaluated_sources import evaluation_content

CONFIG = BootstrapConfig(resamples=400)


def answers(name: str, right: dict[str, np.ndarray]) -> EvaluatedSource:
    results = {model: [{"exact": float(one)} for one in values] for model, values in right.items()}
    return EvaluatedSource(kind=Kind.conversations, name=name, side="dialogue", results=results)


def texts(name: str, bits: dict[str, np.ndarray]) -> EvaluatedSource:
    results = {model: [{"bits": float(one), "bytes": 1} for one in values] for model, values in bits.items()}
    return EvaluatedSource(kind=Kind.held_out, name=name, side="social", results=results)


def benchmark(name: str, side: str, right: dict[str, np.ndarray]) -> EvaluatedSource:
    results = {model: [{"exact": float(one)} for one in values] for model, values in right.items()}
    return EvaluatedSource(
        kind=Kind.benchmarks, name=name, side=side, results=results, path=name, metrics=[EXACT_MATCH]
    )


def compare(*sources: EvaluatedSource) -> list[Comparison]:
    return compare_models(estimate_rows(sources, CONFIG), 0.95)


def test_right_and_wrong_are_tested_exactly_and_the_rest_by_bootstrap() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    base, tuned = random.random(100) < 0.4, random.random(100) < 0.6
    found = compare(
        answers("a", {"base": base, "tuned": tuned}), texts("t", {"base": base + 1.0, "tuned": tuned + 2.0})
    )
    [exact] = [c for c in found if c.row.kind is Kind.conversations and c.row.source]
    [measured] = [c for c in found if c.row.kind is Kind.held_out and c.row.source]
    discordant = int((tuned & ~base).sum()), int((tuned ^ base).sum())
    assert exact.test == MCNEMAR and exact.p_value == pytest.approx(stats.binomtest(*discordant).pvalue)
    assert exact.least_difference == least_mcnemar_difference(100, discordant[1])
    assert measured.test == BOOTSTRAP and measured.difference.low > 0 and measured.p_value < LEVEL
    difference = tuned + 1.0 - base
    assert measured.least_difference == pytest.approx(2.8016 * 1.09 * np.std(difference) / 10, rel=0.1)


def test_every_pair_is_adjusted_over_its_own_table() -> None:
    random = np.random.default_rng(1)
    models = {name: random.random(60) < chance for name, chance in (("base", 0.3), ("one", 0.5), ("two", 0.7))}
    other = {name: random.normal(1, 0.1, 30) for name in models}
    found = compare(answers("a", models), answers("b", models), texts("t", other))
    table = [c for c in found if c.row.kind is Kind.conversations]
    assert len(table) == 3 * 3, "three pairs on two sources and on their mean"
    assert {(c.first, c.second) for c in table} == {("base", "one"), ("base", "two"), ("one", "two")}
    assert [c.holm_p_value for c in table] == holm([c.p_value for c in table])
    assert [c.p_value for c in table[:3]] == [c.p_value for c in table[3:6]] != [c.holm_p_value for c in table[:3]]


def test_each_table_that_is_shown_is_a_family_of_its_own() -> None:
    """Two benchmarks beside texts and answers: each section of evaluation.json is adjusted over its own pairs alone."""
    random = np.random.default_rng(2)
    models = {name: random.random(60) < chance for name, chance in (("base", 0.3), ("one", 0.5), ("two", 0.7))}
    bits = {name: random.normal(1, 0.1, 30) for name in models}
    content = evaluation_content(
        sources=[
            answers("a", models),
            texts("t", bits),
            benchmark("gsm8k", "gsm8k", models),
            benchmark("mmlu/law", "mmlu", models),
            benchmark("mmlu/art", "mmlu", models),
        ]
    )
    shown = sections({**content, "sources": []})
    assert [(section.title, len(section.rows)) for section in shown] == [
        ("Social text", 1), ("Answers", 1), ("gsm8k", 1), ("mmlu", 2),
    ]  # fmt: skip
    sides = ("social", "dialogue", "gsm8k", "mmlu")
    for section, side in zip(shown, sides, strict=True):
        family = [entry for entry in content["comparisons"] if entry["side"] == side]
        assert len(family) == 3 * len(section.rows)
        assert [entry["holm_p_value"] for entry in family] == holm([entry["p_value"] for entry in family])
