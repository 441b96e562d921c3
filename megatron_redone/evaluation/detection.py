"""How well harmful content is told from the rest: by class, by rank, and what perturbation costs.

An item's result says its class, the answer, and a margin: the logarithm of the probability of the harmful answers less
that of the harmless ones. Precision, recall and F1 of a class are 0 where nothing was answered or is there (as
scikit-learn's with zero_division=0); average precision is the sum over thresholds of precision times the gain in
recall.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from megatron_redone.evaluation.bootstrap import Statistic, value_of
from megatron_redone.evaluation.metric_definitions import Metric, Results
from megatron_redone.evaluation.ranked_draws import RankedDraws, reaches

DETECTION = "detection"
"""The name of the value of an item's result that holds `gold`, `answer`, `margin` and `is_harmful`."""


def detection_metrics(classes: Sequence[str], precision: float, by_class: bool) -> list[Metric]:
    """Macro-F1, average precision, recall at a precision, and by class.

    Args:
        classes: Their names, in the order of the answers.
        precision: At which recall is taken.
        by_class: Whether precision, recall and F1 of each class are wanted.
    """
    count = len(classes)
    found = [
        Metric(name="macro_f1", title="macro-F1", over_all=lambda results: _of_classes(results, count, _macro_f1)),
        Metric(name="average_precision", title="average precision of harmful", over_all=_average_precision),
        Metric(
            name="recall_at_precision",
            title=f"recall of harmful at precision {100 * precision:g} %",
            over_all=lambda results: _recall_at(results, precision),
        ),
    ]
    return [*found, *(_by_class(classes) if by_class else ())]


def _by_class(classes: Sequence[str]) -> Iterator[Metric]:
    for number, label in enumerate(classes):
        for name, of in _SCORES.items():
            yield Metric(
                name=f"{name}_{label}",
                title=f"{_TITLES[name]} of {label}",
                over_all=lambda results, of=of, number=number: _of_classes(
                    results, len(classes), lambda *counts: of(*counts)[:, number]
                ),
            )


def macro_f1(items: Sequence[Mapping[str, Any]]) -> float:
    """Macro-F1 of all items, for the harness where it runs by itself."""
    results = [{"values": {DETECTION: item}} for item in items]
    classes = 1 + max(int(item[name]) for item in items for name in ("gold", "answer"))
    return value_of(_of_classes(results, classes, _macro_f1), len(items))


_Counts = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _of_classes(results: Results, classes: int, of: _Counts) -> Statistic:
    gold, answer = _column(results, "gold").astype(int), _column(results, "answer").astype(int)
    counts = _counts(gold, answer, classes)
    return lambda chosen: of(*counts(chosen))


def _counts(
    gold: np.ndarray, answer: np.ndarray, classes: int
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each draw and class: how many are right, answered so, and are so: float64 [R, classes] each."""
    numbers = np.arange(classes)
    is_so, is_answered = gold[:, None] == numbers, answer[:, None] == numbers
    columns = np.concatenate([is_so & is_answered, is_answered, is_so], 1).astype(np.float32)

    def of(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        items = len(gold)
        drawn = chosen + items * np.arange(len(chosen))[:, None]
        times = np.bincount(drawn.ravel(), minlength=items * len(chosen)).reshape(len(chosen), items)
        right, answered, there = np.split(times.astype(np.float32) @ columns, 3, axis=1)
        return right.astype(float), answered.astype(float), there.astype(float)

    return of


def _precision(right: np.ndarray, answered: np.ndarray, there: np.ndarray) -> np.ndarray:
    return right / np.maximum(answered, 1)


def _recall(right: np.ndarray, answered: np.ndarray, there: np.ndarray) -> np.ndarray:
    return right / np.maximum(there, 1)


def _f1(right: np.ndarray, answered: np.ndarray, there: np.ndarray) -> np.ndarray:
    return 2 * right / np.maximum(answered + there, 1)


def _macro_f1(right: np.ndarray, answered: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Over the classes that are there or answered, as scikit-learn takes them."""
    seen = answered + there > 0
    return (_f1(right, answered, there) * seen).sum(1) / np.maximum(seen.sum(1), 1)


_SCORES: Mapping[str, _Counts] = {"precision": _precision, "recall": _recall, "f1": _f1}
_TITLES = {"precision": "precision", "recall": "recall", "f1": "F1"}


def _average_precision(results: Results) -> Statistic:
    def of(hits: np.ndarray, taken: np.ndarray) -> np.ndarray:
        gains = np.diff(hits, axis=1, prepend=0.0)
        return (gains * hits / np.maximum(taken, 1)).sum(1) / np.maximum(hits[:, -1], 1)

    return _of_ranks(results, of)


def _recall_at(results: Results, precision: float) -> Statistic:
    def of(hits: np.ndarray, taken: np.ndarray) -> np.ndarray:
        reached = reaches(precision, hits, taken)
        return np.where(reached, hits, 0.0).max(1) / np.maximum(hits[:, -1], 1)

    return _of_ranks(results, of)


def _of_ranks(results: Results, of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Statistic:
    """Takes how many harmful items, and how many items, stand at each score or above it: float64 [R, G]."""
    ranked, harmful = RankedDraws(_column(results, "margin")), _column(results, "is_harmful")

    def statistic(chosen: np.ndarray) -> np.ndarray:
        hits, taken = ranked.sums(chosen, harmful, np.ones(len(harmful)))
        return of(hits.cumsum(1), taken.cumsum(1))

    return statistic


def _column(results: Results, name: str) -> np.ndarray:
    return np.array([result["values"][DETECTION][name] for result in results], float)
