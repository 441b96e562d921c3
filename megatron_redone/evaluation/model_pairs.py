"""The paired tests of an evaluation.json as text: every two models on a row of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_redone.evaluation.metric_definitions import Metric
from megatron_redone.evaluation.value_texts import bare, probability_text, signed

_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class ModelPair:
    """What a model's value is more than another's.

    Attributes:
        first: The one model.
        second: The other one.
        change: The value of `second` less that of `first`, as text.
        change_bounds: The interval around that.
        test: Which test the p-value is of.
        p_value: Adjusted over the table, as text.
        least_difference: The least true difference that so many examples show; empty where they tell none.
        improved: Whether `second` is better; None where the adjusted p-value is above 5 %.
    """

    first: str
    second: str
    change: str
    change_bounds: str
    test: str
    p_value: str
    least_difference: str
    improved: bool | None


def model_pairs(comparisons: Sequence[Mapping[str, Any]], metric: Metric) -> list[ModelPair]:
    """Entries of `comparisons` in evaluation.json, all of one row.

    Args:
        comparisons: In the order of the models.
        metric: Of the row.
    """
    return [_pair(entry, metric) for entry in comparisons]


def _pair(entry: Mapping[str, Any], metric: Metric) -> ModelPair:
    least, holds = entry["least_difference"], entry["holm_p_value"] < _LEVEL and entry["difference"] != 0
    return ModelPair(
        first=entry["first"],
        second=entry["second"],
        change=signed(metric, entry["difference"]),
        change_bounds=f"{signed(metric, entry['difference_low'])} – {signed(metric, entry['difference_high'])}",
        test=entry["test"],
        p_value=probability_text(entry["holm_p_value"]),
        least_difference="" if least is None else bare(metric, least),
        improved=(entry["difference"] > 0) == metric.higher_is_better if holds else None,
    )
