"""Values of evaluation.json as text, in the unit of their metric."""

from collections.abc import Mapping
from typing import Any

from megatron_redone.evaluation.metric_definitions import METRICS, Kind, Metric, Unit

MINUS = "−"


def metric_of(entry: Mapping[str, Any]) -> Metric:
    """The metric of one of the `metrics`; a benchmark's entries say themselves what they are."""
    if entry["kind"] != Kind.benchmarks.name:
        return METRICS[entry["metric"]]
    return Metric(
        name=entry["metric"],
        title=entry["title"],
        unit=Unit[entry["unit"]],
        higher_is_better=entry["higher_is_better"],
    )


def format_value(metric: Metric, value: float) -> str:
    """A value with its unit."""
    return f"{bare(metric, value)} %" if metric.unit is Unit.percent else bare(metric, value)


def bare(metric: Metric, value: float) -> str:
    """A value without its unit."""
    return f"{100 * value:.1f}" if metric.unit is Unit.percent else f"{value:.3f}"


def signed(metric: Metric, value: float) -> str:
    """A difference without its unit; one that rounds to zero has no sign."""
    text = bare(metric, abs(value))
    return text if not float(text) else ("+" if value > 0 else MINUS) + text


def probability_text(value: float) -> str:
    """A p-value."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}" if value < 0.0995 else f"p = {value:.2f}"
