"""What an item's values on a benchmark come to over all items, and over the subsets of a benchmark."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from megatron_redone.config.evaluate import Scoring
from megatron_redone.evaluation.bootstrap import Statistic
from megatron_redone.evaluation.detection import DETECTION, detection_metrics
from megatron_redone.evaluation.metric_definitions import Metric, Results, Unit
from megatron_redone.evaluation.sns_bench.items import scorer_of

_SCORES = [scoring.value for scoring in Scoring]


def benchmark_metrics(task: Any, results: Results, scoring: Scoring) -> list[Metric]:
    """The metrics of a task.

    Args:
        task: The harness's.
        results: Of one model.
        scoring: Which of SNS-Bench's two scores is taken.
    """
    values = results[0]["values"]
    if DETECTION in values:
        return _detection(task)
    names = [name for name in values if name not in _SCORES or name == scoring.value]
    return [_metric(task, name, values[name], scoring) for name in names]


def _detection(task: Any) -> list[Metric]:
    """Of harmful content; by class where the texts are as they were."""
    item, about = task.eval_docs[0], task.config.metadata or {}
    is_itself = about.get("variant_of") in (None, about.get("shown_as"))
    return detection_metrics(item["classes"], item["precision"], by_class=is_itself)


def _metric(task: Any, name: str, value: Any, scoring: Scoring) -> Metric:
    better = task.higher_is_better().get(name.split(",")[0], True)
    if isinstance(value, Mapping):
        return Metric(name=name, title=_title(name, value, scoring), over_all=lambda results: _of_counts(name, results))
    if name == "bits_per_byte":
        return Metric(
            name="bits_per_byte",
            title="bits per byte",
            unit=Unit.bits,
            higher_is_better=False,
            top=lambda result: -result["values"][name][0] / math.log(2),
            bottom=lambda result: result["values"][name][1],
        )
    if isinstance(value, float):
        numbers = task.aggregation()[name.split(",")[0]].__name__ != "mean"
        if not numbers:
            return Metric(name=name, title=name, higher_is_better=better, top=lambda result: result["values"][name])
    if isinstance(value, list) and all(each in (0.0, 1.0) for each in value) and name.startswith("inst_level"):
        return Metric(
            name=name,
            title=name,
            top=lambda result: sum(result["values"][name]),
            bottom=lambda result: float(len(result["values"][name])),
        )
    aggregation = task.aggregation()[name.split(",")[0]]
    return Metric(
        name=name,
        title=name,
        unit=Unit.number,
        higher_is_better=better,
        over_all=lambda results: _by_the_harness(aggregation, [result["values"][name] for result in results]),
    )


def _title(name: str, value: Mapping[str, Any], scoring: Scoring) -> str:
    if name == "with_stand_in":
        return f"corrected score, {value['stand_in']} in the place of the benchmark's embedding"
    half = value["subset"] == "QueryGen" and "cosine" not in value
    return f"{scoring.value} score" + (", its half without an embedding" if half else "")


def _of_counts(name: str, results: Results) -> Statistic:
    """A score of sums over items."""
    items = [result["values"][name] for result in results]
    scorer = scorer_of(name, items[0])
    table = {count: np.array([item[count] for item in items], float) for count in scorer.names}
    return lambda chosen: scorer.combine({count: values[chosen].sum(1) for count, values in table.items()})


def _by_the_harness(aggregation: Any, items: Sequence[Any]) -> Statistic:
    """A task's own function of all items, asked anew for each draw."""
    as_given = [tuple(item) if isinstance(item, list) else item for item in items]
    return lambda chosen: np.array([float(aggregation([as_given[i] for i in draw])) for draw in chosen])


def answer_shares(results: Results, scoring: Scoring) -> dict[str, Any]:
    """How much of what a model answers parses, and how much of it is one and the same.

    Returns:
        `commonest` (a share), `commonest_answer`, and `parsed` where the task says what parses; nothing where there
        are no answers.
    """
    read = [_reading(result, scoring) for result in results]
    if all(result["answer"] is None for result in results):
        return {}
    counts: dict[Any, int] = {}
    for text, _ in read:
        counts[text] = counts.get(text, 0) + 1
    commonest = max(counts, key=lambda text: counts[text])
    shares: dict[str, Any] = {"commonest": counts[commonest] / len(read), "commonest_answer": str(commonest)[:80]}
    if all(parsed is not None for _, parsed in read):
        shares["parsed"] = sum(float(parsed) for _, parsed in read if parsed is not None) / len(read)
    return shares


def _reading(result: Mapping[str, Any], scoring: Scoring) -> tuple[Any, float | None]:
    value = result["values"].get(scoring.value)
    if isinstance(value, Mapping):
        return (result["answer"] if value["reading"] is None else value["reading"]), value["parsed"]
    if "bleu" in result["values"]:
        return result["answer"], float(bool(str(result["answer"]).strip()))
    return result["answer"], None
