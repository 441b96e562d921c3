"""Paired tests between any two models, over everything that they were evaluated on."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from megatron_redone.evaluation.bootstrap import (
    Interval,
    degrees_of_freedom,
    percentile_interval,
    student_p_value,
    zero_p_value,
)
from megatron_redone.evaluation.comparison import ComparedRow, Estimate
from megatron_redone.evaluation.metric_definitions import Kind
from megatron_redone.evaluation.paired_tests import (
    holm,
    least_difference,
    least_mcnemar_difference,
    mcnemar_p_value,
)

MCNEMAR = "McNemar exact"
BOOTSTRAP = "paired bootstrap"
_BY_SIDE = (Kind.held_out, Kind.benchmarks)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a model's value is more than another's, on the same examples.

    Attributes:
        row: What was compared.
        first: The one model.
        second: The other, whose value less that of `first` is the difference.
        difference: With its bootstrap interval.
        test: Which test the p-value is of.
        p_value: Two-sided.
        holm_p_value: Adjusted for all comparisons of the same table.
        least_difference: The least true difference that is found here in 80 of 100 repetitions at level 5 %; None
            where the examples tell none.
    """

    row: ComparedRow
    first: str
    second: str
    difference: Interval
    test: str
    p_value: float
    holm_p_value: float
    least_difference: float | None

    def as_record(self) -> dict[str, Any]:
        """One flat entry of evaluation.json."""
        row = self.row
        return {
            "kind": row.kind.name,
            "source": row.source,
            "side": row.side,
            "metric": row.metric.name,
            "examples": row.examples,
            "first": self.first,
            "second": self.second,
            "difference": self.difference.value,
            "difference_low": self.difference.low,
            "difference_high": self.difference.high,
            "test": self.test,
            "p_value": self.p_value,
            "holm_p_value": self.holm_p_value,
            "least_difference": self.least_difference,
        }


def compare_models(rows: Sequence[ComparedRow], confidence: float) -> list[Comparison]:
    """Every pair of models on every row; p-values are adjusted over each table by Holm's procedure.

    A side of held-out text and each benchmark is a table of its own (`tables.py`), and so a family of its own.

    Args:
        rows: Of `estimate_rows`.
        confidence: Of the intervals.
    """
    tables: dict[Any, list[Comparison]] = defaultdict(list)
    for row in rows:
        tables[row.kind, row.side if row.kind in _BY_SIDE else None] += _pairs(row, confidence)
    return [comparison for table in tables.values() for comparison in _adjusted(table)]


def _pairs(row: ComparedRow, confidence: float) -> Iterator[Comparison]:
    for first, second in itertools.combinations(row.estimates, 2):
        one, two = row.estimates[first], row.estimates[second]
        change = two.distribution - one.distribution
        test, p_value, least = _test(one, two, change, row.examples)
        yield Comparison(
            row=row,
            first=first,
            second=second,
            difference=percentile_interval(two.value - one.value, change, confidence),
            test=test,
            p_value=p_value,
            holm_p_value=p_value,
            least_difference=least,
        )


def _test(one: Estimate, two: Estimate, change: np.ndarray, examples: int) -> tuple[str, float, float | None]:
    """The test's name, its p-value and the least difference that it finds."""
    if one.is_right is None or two.is_right is None:
        degrees = _degrees(one, two)
        p_value = student_p_value(zero_p_value(change), degrees)
        return BOOTSTRAP, p_value, least_difference(float(np.std(change)), examples, degrees)
    first_alone, second_alone = int((one.is_right & ~two.is_right).sum()), int((two.is_right & ~one.is_right).sum())
    least = least_mcnemar_difference(examples, first_alone + second_alone)
    return MCNEMAR, mcnemar_p_value(first_alone, second_alone), least


def _degrees(one: Estimate, two: Estimate) -> float | None:
    """How well the difference's variance is known; None where nothing says it."""
    if one.influences is None or two.influences is None:
        return None
    return degrees_of_freedom(two.influences - one.influences)


def _adjusted(table: Sequence[Comparison]) -> Iterator[Comparison]:
    for comparison, p_value in zip(table, holm([c.p_value for c in table]), strict=True):
        yield replace(comparison, holm_p_value=p_value)
