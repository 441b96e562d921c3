"""Means over subsets: each task counted alike, and within a task each of its subsets."""

import numpy as np
import pytest

from megatron_redone.evaluation.comparison import ComparedRow, Estimate
from megatron_redone.evaluation.folded_rows import fold_benchmarks
from megatron_redone.evaluation.metric_definitions import Kind, Metric


def row(path: str, value: float, metric: str = "corrected", in_mean: bool = True) -> ComparedRow:
    return ComparedRow(
        kind=Kind.benchmarks,
        source=f"sns {path}",
        side="sns",
        metric=Metric(name=metric, title=metric),
        examples=10,
        estimates={"a": Estimate(value, np.array([value - 0.1, value + 0.1]))},
        in_mean=in_mean,
        path=path,
    )


def test_subsets_make_a_task_and_tasks_the_mean() -> None:
    rows = [row("mrc/simple", 0.2), row("mrc/complex", 0.4), row("ner", 0.9), row("ner", 0.1, "other", in_mean=False)]
    task, everything = fold_benchmarks(rows)
    assert (task.path, task.mean_of, task.source, task.examples) == ("mrc", 2, "sns mrc", 20)
    assert task.estimates["a"].value == pytest.approx(0.3)
    assert everything.source is None and everything.mean_of == 2
    assert everything.estimates["a"].value == pytest.approx((0.3 + 0.9) / 2)
    np.testing.assert_allclose(everything.estimates["a"].distribution, [0.5, 0.7])


def test_two_metrics_of_two_directions_make_one_figure() -> None:
    rows = [
        row("zh_to_en", 0.1, "bleu"),
        row("zh_to_en", 0.3, "chrf"),
        row("en_to_zh", 0.5, "bleu"),
        row("en_to_zh", 0.7, "chrf"),
    ]
    [mean] = fold_benchmarks(rows)
    assert mean.estimates["a"].value == pytest.approx(0.4)
    assert (mean.metric.name, mean.metric.title, mean.mean_of) == ("mean", "bleu and chrf", 4)


def test_one_row_alone_has_no_mean() -> None:
    assert [*fold_benchmarks([row("gsm8k", 0.2)])] == []
