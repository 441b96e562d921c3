"""From results per example to metrics with intervals, and to what the base model is better or worse by."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.bootstrap import Interval, percentile_interval, resampled_ratios
from megatron_redone.evaluation.metric_definitions import BITS_PER_BYTE, Kind, Metric, metrics_of

Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class EvaluatedSource:
    """A source and what every model did on it, example by example in the same order."""

    kind: Kind
    name: str
    side: str
    results: Mapping[str, Results]


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    """A model's value on a source.

    Attributes:
        source: Its name; None for the mean over the sources of a group, each counted alike.
        side: The group or capability of the source.
        examples: How many the value is taken over.
        interval: The value and its bounds.
        difference: What it is more than the base model's, with bounds; None for the base model itself.
    """

    model: str
    kind: Kind
    source: str | None
    side: str
    metric: Metric
    examples: int
    interval: Interval
    difference: Interval | None

    def as_record(self) -> dict[str, Any]:
        """One flat entry of evaluation.json."""
        record: dict[str, Any] = {
            "model": self.model,
            "kind": self.kind.name,
            "source": self.source,
            "side": self.side,
            "metric": self.metric.name,
            "examples": self.examples,
            **vars(self.interval),
        }
        if self.difference is not None:
            record |= {name: getattr(self.difference, part) for name, part in _DIFFERENCE.items()}
        return record


_DIFFERENCE = {"difference": "value", "difference_low": "low", "difference_high": "high"}


@dataclass(frozen=True)
class _Estimate:
    """A value and its bootstrap distribution."""

    value: float
    distribution: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Row:
    """The same value of all models."""

    kind: Kind
    source: str | None
    side: str
    metric: Metric
    examples: int
    estimates: dict[str, _Estimate]


def compute_metrics(sources: Sequence[EvaluatedSource], base: str, config: BootstrapConfig) -> list[MetricValue]:
    """All metrics of all models.

    Args:
        sources: Every one with the results of the same models.
        base: The model that the others are compared with.
        config: Of the bootstrap.
    """
    rows = [row for source in sources for row in _rows(source, config)]
    rows += _group_means(rows)
    return [value for row in rows for value in _metric_values(row, base, config.confidence)]


def _rows(source: EvaluatedSource, config: BootstrapConfig) -> Iterator[_Row]:
    anyone = next(iter(source.results.values()))
    for metric in metrics_of(source.kind, anyone[0]):
        yield _Row(
            kind=source.kind,
            source=source.name,
            side=source.side,
            metric=metric,
            examples=len(anyone),
            estimates={model: _estimate(results, metric, source, config) for model, results in source.results.items()},
        )


def _estimate(results: Results, metric: Metric, source: EvaluatedSource, config: BootstrapConfig) -> _Estimate:
    """Every model gets the same random numbers on a source, and every source its own."""
    tops = np.array([metric.top(result) for result in results], float)
    bottoms = np.array([metric.bottom(result) for result in results], float)
    random = np.random.default_rng([config.seed, zlib.crc32(f"{source.kind.name} {source.name}".encode())])
    return _Estimate(tops.sum() / bottoms.sum(), resampled_ratios(tops, bottoms, config.resamples, random))


def _group_means(rows: Sequence[_Row]) -> Iterator[_Row]:
    """Bits per byte over the sources of a group: resampled within each, and averaged."""
    texts = [row for row in rows if row.metric is BITS_PER_BYTE]
    for side in dict.fromkeys(row.side for row in texts):
        members = [row for row in texts if row.side == side]
        yield _Row(
            kind=Kind.held_out,
            source=None,
            side=side,
            metric=BITS_PER_BYTE,
            examples=sum(row.examples for row in members),
            estimates={
                model: _Estimate(
                    float(np.mean([row.estimates[model].value for row in members])),
                    np.mean([row.estimates[model].distribution for row in members], axis=0),
                )
                for model in members[0].estimates
            },
        )


def _metric_values(row: _Row, base: str, confidence: float) -> Iterator[MetricValue]:
    before = row.estimates[base]
    for model, estimate in row.estimates.items():
        difference = percentile_interval(
            estimate.value - before.value, estimate.distribution - before.distribution, confidence
        )
        yield MetricValue(
            model=model,
            kind=row.kind,
            source=row.source,
            side=row.side,
            metric=row.metric,
            examples=row.examples,
            interval=percentile_interval(estimate.value, estimate.distribution, confidence),
            difference=None if model == base else difference,
        )
