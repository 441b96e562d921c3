"""Metrics as ratios of two sums over examples."""

from collections.abc import Mapping
from typing import Any

import pytest

from megatron_redone.evaluation.metric_definitions import (
    BITS_PER_BYTE,
    METRICS,
    PREFERENCE_ACCURACY,
    PREFERENCE_ACCURACY_PER_TOKEN,
    Kind,
    Metric,
    metrics_of,
)


def value(metric: Metric, results: list[Mapping[str, Any]]) -> float:
    return sum(map(metric.top, results)) / sum(map(metric.bottom, results))


def pair(chosen: float, rejected: float, chosen_tokens: int = 1, rejected_tokens: int = 1) -> dict[str, float]:
    return {
        "chosen": chosen,
        "rejected": rejected,
        "chosen_tokens": chosen_tokens,
        "rejected_tokens": rejected_tokens,
    }


def test_a_text_counts_by_its_bytes() -> None:
    """Cut in two, a text has the same bits per byte; the mean of the parts would not."""
    parts = [{"bits": 8.0, "bytes": 1}, {"bits": 90.0, "bytes": 99}]
    assert value(BITS_PER_BYTE, parts) == value(BITS_PER_BYTE, [{"bits": 98.0, "bytes": 100}]) == pytest.approx(0.98)


def test_a_longer_answer_is_less_likely_as_a_whole_and_may_be_likelier_per_token() -> None:
    longer_is_chosen = pair(-12.0, -10.0, chosen_tokens=6, rejected_tokens=2)
    assert value(PREFERENCE_ACCURACY, [longer_is_chosen]) == 0
    assert value(PREFERENCE_ACCURACY_PER_TOKEN, [longer_is_chosen]) == 1


def test_a_tie_is_not_right() -> None:
    """A policy that is its own reference has an accuracy of zero, not of one."""
    results = [pair(-3.0, -3.0), pair(-2.0, -3.0)]
    assert value(PREFERENCE_ACCURACY, results) == value(PREFERENCE_ACCURACY_PER_TOKEN, results) == 0.5


def test_every_kind_has_metrics_and_labels_have_no_f1() -> None:
    results: dict[Kind, dict[str, Any]] = {
        Kind.held_out: {"bits": 1.0, "bytes": 2},
        Kind.preferences: pair(-1.0, -2.0),
        Kind.conversations: {"exact": 1.0, "f1": 0.5},
    }
    found = [metric for kind, result in results.items() for metric in metrics_of(kind, result)]
    assert {metric.name for metric in found} == set(METRICS)
    for kind, result in results.items():
        for metric in metrics_of(kind, result):
            assert 0 <= value(metric, [result]) <= 1
    assert [metric.name for metric in metrics_of(Kind.conversations, {"exact": 1.0})] == ["exact_match"]
    assert [metric.name for metric in found if not metric.higher_is_better] == ["bits_per_byte"]
