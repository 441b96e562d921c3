"""Which metrics are taken of which kind of example, each as a ratio of two sums over examples."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class Kind(enum.Enum):
    """What a source is made of."""

    held_out = "held_out"
    preferences = "preferences"
    conversations = "conversations"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A value.

    Attributes:
        name: In evaluation.json.
        title: In tables.
        higher_is_better: The direction of an improvement.
        top: What an example's result adds to the upper sum.
        bottom: What it adds to the lower sum; 1 makes a mean.
    """

    name: str
    title: str
    higher_is_better: bool = True
    top: Callable[[Mapping[str, Any]], float]
    bottom: Callable[[Mapping[str, Any]], float] = lambda _: 1.0


BITS_PER_BYTE = Metric(
    name="bits_per_byte",
    title="bits per byte",
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
METRICS = {metric.name: metric for metrics in _METRICS.values() for metric in metrics}


def metrics_of(kind: Kind, result: Mapping[str, Any]) -> list[Metric]:
    """The metrics of a source, one of whose results is given: labels have no F1."""
    return [metric for metric in _METRICS[kind] if metric is not ITEM_F1 or "f1" in result]
