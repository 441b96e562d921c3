"""Scores of harmful content beside scikit-learn's, on everything and on draws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from megatron_redone.evaluation.detection import DETECTION, detection_metrics, macro_f1

sklearn = pytest.importorskip("sklearn.metrics")


def items(count: int, classes: int, seed: int, ties: bool) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    gold, answer = random.integers(0, classes, count), random.integers(0, classes, count)
    margins = random.normal(0, 1, count) + gold
    margins = margins.round(0) if ties else margins
    return [
        {"values": {DETECTION: {"gold": float(g), "answer": float(a), "margin": m, "is_harmful": float(g > 0)}}}
        for g, a, m in zip(gold.tolist(), answer.tolist(), margins.tolist(), strict=True)
    ]


def column(results: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([result["values"][DETECTION][name] for result in results])


@pytest.mark.parametrize(("classes", "ties"), [(2, False), (2, True), (6, True)])
def test_scores_are_those_of_scikit_learn_on_every_draw(classes: int, ties: bool) -> None:
    results = items(60, classes, classes, ties)
    names = [f"c{number}" for number in range(classes)]
    draws = np.random.default_rng(0).integers(0, 60, (8, 60))
    found = {m.name: m.statistic(results)(draws) for m in detection_metrics(names, 0.7, by_class=True)}
    assert len(found) == 3 + 3 * classes
    for number, draw in enumerate(draws):
        gold, answer, margin, harmful = (column(results, n)[draw] for n in ("gold", "answer", "margin", "is_harmful"))
        assert found["macro_f1"][number] == pytest.approx(sklearn.f1_score(gold, answer, average="macro"))
        assert found["average_precision"][number] == pytest.approx(sklearn.average_precision_score(harmful, margin))
        precision, recall, _ = sklearn.precision_recall_curve(harmful, margin)
        assert found["recall_at_precision"][number] == pytest.approx(recall[precision >= 0.7].max())
        table = sklearn.precision_recall_fscore_support(gold, answer, labels=range(classes), zero_division=0)
        for name, values in zip(("precision", "recall", "f1"), table, strict=False):
            for label, value in zip(names, values, strict=True):
                assert found[f"{name}_{label}"][number] == pytest.approx(value), (name, label)


def test_perturbed_texts_have_no_rows_by_class() -> None:
    assert [metric.name for metric in detection_metrics(["a", "b"], 0.9, by_class=False)] == [
        "macro_f1", "average_precision", "recall_at_precision",
    ]  # fmt: skip


def test_a_precision_that_nothing_reaches_has_no_recall() -> None:
    results = [{"values": {DETECTION: {"gold": g, "answer": 1, "margin": m, "is_harmful": g}}}
               for g, m in ((0, 3.0), (1, 2.0), (0, 1.0))]  # fmt: skip
    [_, _, recall] = detection_metrics(["a", "b"], 0.9, by_class=False)
    assert recall.statistic(results)(np.arange(3)[None]) == 0


def test_a_precision_that_is_just_reached_has_its_recall() -> None:
    """0.55 * 100 is more than 55 in float64."""
    results = [{"values": {DETECTION: {"gold": g, "answer": 1, "margin": 1.0, "is_harmful": g}}}
               for g in [1] * 55 + [0] * 45]  # fmt: skip
    [_, _, recall] = detection_metrics(["a", "b"], 0.55, by_class=False)
    assert recall.statistic(results)(np.arange(100)[None]) == 1


def test_the_harness_by_itself_gets_macro_f1() -> None:
    results = items(40, 3, 1, ties=False)
    gold, answer = column(results, "gold"), column(results, "answer")
    expected = sklearn.f1_score(gold, answer, average="macro")
    assert macro_f1([result["values"][DETECTION] for result in results]) == pytest.approx(expected)
