"""From results per example to metrics with intervals, and to what the base model is better or worse by."""

import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.bootstrap import Interval, percentile_interval, resampled, value_of
from megatron_redone.evaluation.metric_definitions import HEADLINES, Kind, Metric, Results, metrics_of


@dataclass(frozen=True, kw_only=True)
class EvaluatedSource:
    """A source and what every model did on it, example by example in the same order.

    A benchmark brings its `metrics`, where it stands among the subsets (`path`), and the names of the metrics that
    means are taken of (`headlines`; the first where there is none). `variant_of` is the path of the subset that has the
    same items as they were: all of these are resampled alike, and only that one counts in means.
    """

    kind: Kind
    name: str
    side: str
    results: Mapping[str, Results]
    metrics: Sequence[Metric] | None = None
    path: str | None = None
    headlines: Sequence[str] = ()
    variant_of: str = ""


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    """A model's value on a source.

    Attributes:
        source: Its name; None for the mean over the sources of a group, each counted alike.
        side: The group or capability of the source.
        examples: How many the value is taken over.
        interval: The value and its bounds.
        difference: What it is more than the base model's, with bounds; None for the base model itself.
        mean_of: How many rows of a benchmark it is the mean of; 0 for a row itself.
        path: Where it stands among the subsets of a benchmark.
    """

    model: str
    kind: Kind
    source: str | None
    side: str
    metric: Metric
    examples: int
    interval: Interval
    difference: Interval | None
    mean_of: int = 0
    path: str | None = None

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
        if self.kind is Kind.benchmarks:
            better = self.metric.higher_is_better
            record |= {"title": self.metric.title, "unit": self.metric.unit.name, "higher_is_better": better}
            record |= {"mean_of": self.mean_of, "path": self.path}
        if self.difference is not None:
            record |= {name: getattr(self.difference, part) for name, part in _DIFFERENCE.items()}
        return record


_DIFFERENCE = {"difference": "value", "difference_low": "low", "difference_high": "high"}


@dataclass(frozen=True)
class Estimate:
    """A value and its bootstrap distribution.

    Attributes:
        value: It.
        distribution: Of its resamples, float64 [R].
        is_right: Of a fraction of right examples, which they are.
        influences: Of a ratio of sums, by how much each example moves it.
    """

    value: float
    distribution: np.ndarray
    is_right: np.ndarray | None = None
    influences: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """The same value of all models; `in_mean`, `path` and `mean_of` of a benchmark are those of `folded_rows.py`."""

    kind: Kind
    source: str | None
    side: str
    metric: Metric
    examples: int
    estimates: dict[str, Estimate]
    in_mean: bool = False
    path: str | None = None
    mean_of: int = 0
    variant_of: str = ""


def estimate_rows(sources: Sequence[EvaluatedSource], config: BootstrapConfig) -> list[ComparedRow]:
    """Every metric of every source, and the means over groups of sources.

    Args:
        sources: Every one with the results of the same models.
        config: Of the bootstrap.
    """
    rows = [row for source in sources for row in _rows(source, config)]
    return [*rows, *_group_means(rows)]


def compute_metrics(rows: Sequence[ComparedRow], base: str, config: BootstrapConfig) -> list[MetricValue]:
    """All metrics of all models.

    Args:
        rows: Of `estimate_rows`.
        base: The model that the others are compared with.
        config: Of the bootstrap.
    """
    return [value for row in rows for value in _metric_values(row, base, config.confidence)]


def _rows(source: EvaluatedSource, config: BootstrapConfig) -> Iterator[ComparedRow]:
    anyone = next(iter(source.results.values()))
    metrics = metrics_of(source.kind, anyone[0]) if source.metrics is None else source.metrics
    headlines = source.headlines or [metric.name for metric in metrics[:1]]
    is_itself = source.variant_of in ("", source.path)
    for metric in metrics:
        yield ComparedRow(
            kind=source.kind,
            source=source.name,
            side=source.side,
            metric=metric,
            examples=len(anyone),
            estimates={model: _estimate(results, metric, source, config) for model, results in source.results.items()},
            in_mean=source.kind is Kind.benchmarks and metric.name in headlines and is_itself,
            path=source.path,
            variant_of=source.variant_of,
        )


def _estimate(results: Results, metric: Metric, source: EvaluatedSource, config: BootstrapConfig) -> Estimate:
    """Every model gets the same random numbers on a source, and every source its own, but for variants of one."""
    statistic = metric.statistic(results)
    name = f"{source.side} {source.variant_of}" if source.variant_of else source.name
    random = np.random.default_rng([config.seed, zlib.crc32(f"{source.kind.name} {name}".encode())])
    distribution = resampled(statistic, len(results), config.resamples, random)
    return Estimate(
        value_of(statistic, len(results)), distribution, metric.right_or_wrong(results), metric.influences(results)
    )


def _group_means(rows: Sequence[ComparedRow]) -> Iterator[ComparedRow]:
    """Headline metrics over the sources of a table: resampled within each, and averaged, each source counted alike.

    Of one source there is none: it is that source's own row, and tests are adjusted for every row of a table.
    """
    tables: dict[tuple[Metric, str], list[ComparedRow]] = defaultdict(list)
    for row in rows:
        if row.metric in HEADLINES and row.kind is not Kind.benchmarks:
            tables[row.metric, row.side if row.kind is Kind.held_out else ""].append(row)
    for (metric, side), members in tables.items():
        if len(members) < 2:
            continue
        yield ComparedRow(
            kind=members[0].kind,
            source=None,
            side=side,
            metric=metric,
            examples=sum(row.examples for row in members),
            estimates={
                model: Estimate(
                    float(np.mean([row.estimates[model].value for row in members])),
                    np.mean([row.estimates[model].distribution for row in members], axis=0),
                )
                for model in members[0].estimates
            },
        )


def _metric_values(row: ComparedRow, base: str, confidence: float) -> Iterator[MetricValue]:
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
            mean_of=row.mean_of,
            path=row.path,
        )
