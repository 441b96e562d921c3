"""Which metrics are taken of which kind of example."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatron_redone.evaluation.bootstrap import Statistic, ratio_of_sums

Results = Sequence[Mapping[str, Any]]


class Kind(enum.Enum):
    """What a source is made of."""

    held_out = "held_out"
    preferences = "preferences"
    conversations = "conversations"
    benchmarks = "benchmarks"


class Unit(enum.Enum):
    """How a value is written."""

    percent = "percent"
    bits = "bits"
    number = "number"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A value: a ratio of two sums over examples, or whatever else `over_all` makes of them.

    Attributes:
        name: In evaluation.json.
        title: In tables.
        higher_is_better: The direction of an improvement.
        top: What an example's result adds to the upper sum.
        bottom: What it adds to the lower sum; 1 makes a mean.
        unit: Of the value in tables.
        over_all: Makes the value of all results together where it is no such ratio (micro-F1, average precision).
    """

    name: str
    title: str
    higher_is_better: bool = True
    unit: Unit = Unit.percent
    top: Callable[[Mapping[str, Any]], float] = lambda _: 0.0
    bottom: Callable[[Mapping[str, Any]], float] = lambda _: 1.0
    over_all: Callable[[Results], Statistic] | None = None

    def statistic(self, results: Results) -> Statistic:
        """The metric of any draw from these results."""
        if self.over_all is not None:
            return self.over_all(results)
        return ratio_of_sums(*self._sums(results))

    def right_or_wrong(self, results: Results) -> np.ndarray | None:
        """Whether each example is right, bool [N], where the metric is the fraction of those that are."""
        tops, bottoms = self._sums(results)
        counts = self.over_all is None and bool((bottoms == 1).all() and ((tops == 0) | (tops == 1)).all())
        return tops == 1 if counts else None

    def influences(self, results: Results) -> np.ndarray | None:
        """By how much each example moves the value, float64 [N]; None where it is no ratio of two sums."""
        if self.over_all is not None:
            return None
        tops, bottoms = self._sums(results)
        return (tops - tops.sum() / bottoms.sum() * bottoms) / bottoms.sum()

    def _sums(self, results: Results) -> tuple[np.ndarray, np.ndarray]:
        return np.array([*map(self.top, results)], float), np.array([*map(self.bottom, results)], float)


BITS_PER_BYTE = Metric(
    name="bits_per_byte",
    title="bits per byte",
    unit=Unit.bits,
    higher_is_better=False,
    top=lambda result: result["bits"],
    bottom=lambda result: result["bytes"],
)
PREFERENCE_ACCURACY = Metric(
    name="preference_accuracy",
    title="chosen likelier",
    top=lambda result: float(result["chosen"] > result["rejected"]),
)
PREFERENCE_ACCURACY_PER_TOKEN = Metric(
    name="preference_accuracy_per_token",
    title="chosen likelier per token",
    top=lambda result: float(
        result["chosen"] / result["chosen_tokens"] > result["rejected"] / result["rejected_tokens"]
    ),
)
EXACT_MATCH = Metric(name="exact_match", title="exact match", top=lambda result: result["exact"])
ITEM_F1 = Metric(name="item_f1", title="F1 of items", top=lambda result: result["f1"])

_METRICS = {
    Kind.held_out: [BITS_PER_BYTE],
    Kind.preferences: [PREFERENCE_ACCURACY_PER_TOKEN, PREFERENCE_ACCURACY],
    Kind.conversations: [EXACT_MATCH, ITEM_F1],
}
HEADLINES = [metrics[0] for metrics in _METRICS.values()]
"""Of each kind the metric whose mean over sources says most."""

METRICS = {metric.name: metric for metrics in _METRICS.values() for metric in metrics}


def metrics_of(kind: Kind, result: Mapping[str, Any]) -> list[Metric]:
    """The metrics of a source, one of whose results is given: labels have no F1."""
    return [metric for metric in _METRICS[kind] if metric is not ITEM_F1 or "f1" in result]
