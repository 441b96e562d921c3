"""From results per example to figures with intervals, and to what the base model is better or worse by."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.bootstrap import Interval, percentile_interval, resampled_ratios
from megatron_redone.evaluation.measures import BITS_PER_BYTE, Kind, Measure, measures_of

Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class MeasuredSource:
    """A source and what every model did on it, example by example in the same order."""

    kind: Kind
    name: str
    side: str
    results: Mapping[str, Results]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A model's figure on a source.

    Attributes:
        source: Its name; None for the mean over the sources of a group, each counted alike.
        side: The group or capability of the source.
        examples: How many the figure is taken over.
        interval: The figure and its bounds.
        difference: What it is more than the base model's, with bounds; None for the base model itself.
    """

    model: str
    kind: Kind
    source: str | None
    side: str
    measure: Measure
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
            "measure": self.measure.name,
            "examples": self.examples,
            **vars(self.interval),
        }
        if self.difference is not None:
            record |= {name: getattr(self.difference, part) for name, part in _DIFFERENCE.items()}
        return record


_DIFFERENCE = {"difference": "value", "difference_low": "low", "difference_high": "high"}


@dataclass(frozen=True)
class _Estimate:
    """A figure and its bootstrap distribution."""

    value: float
    distribution: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Row:
    """The same figure of all models."""

    kind: Kind
    source: str | None
    side: str
    measure: Measure
    examples: int
    estimates: dict[str, _Estimate]


def compute_figures(sources: Sequence[MeasuredSource], base: str, config: BootstrapConfig) -> list[Figure]:
    """All figures of all models.

    Args:
        sources: Every one with the results of the same models.
        base: The model that the others are compared with.
        config: Of the bootstrap.
    """
    rows = [row for source in sources for row in _rows(source, config)]
    rows += _group_means(rows)
    return [figure for row in rows for figure in _figures(row, base, config.confidence)]


def _rows(source: MeasuredSource, config: BootstrapConfig) -> Iterator[_Row]:
    anyone = next(iter(source.results.values()))
    for measure in measures_of(source.kind, anyone[0]):
        yield _Row(
            kind=source.kind,
            source=source.name,
            side=source.side,
            measure=measure,
            examples=len(anyone),
            estimates={model: _estimate(results, measure, source, config) for model, results in source.results.items()},
        )


def _estimate(results: Results, measure: Measure, source: MeasuredSource, config: BootstrapConfig) -> _Estimate:
    """Every model gets the same random numbers on a source, and every source its own."""
    tops = np.array([measure.top(result) for result in results], float)
    bottoms = np.array([measure.bottom(result) for result in results], float)
    random = np.random.default_rng([config.seed, zlib.crc32(f"{source.kind.name} {source.name}".encode())])
    return _Estimate(tops.sum() / bottoms.sum(), resampled_ratios(tops, bottoms, config.resamples, random))


def _group_means(rows: Sequence[_Row]) -> Iterator[_Row]:
    """Bits per byte over the sources of a group: resampled within each, and averaged."""
    texts = [row for row in rows if row.measure is BITS_PER_BYTE]
    for side in dict.fromkeys(row.side for row in texts):
        members = [row for row in texts if row.side == side]
        yield _Row(
            kind=Kind.held_out,
            source=None,
            side=side,
            measure=BITS_PER_BYTE,
            examples=sum(row.examples for row in members),
            estimates={
                model: _Estimate(
                    float(np.mean([row.estimates[model].value for row in members])),
                    np.mean([row.estimates[model].distribution for row in members], axis=0),
                )
                for model in members[0].estimates
            },
        )


def _figures(row: _Row, base: str, confidence: float) -> Iterator[Figure]:
    before = row.estimates[base]
    for model, estimate in row.estimates.items():
        difference = percentile_interval(
            estimate.value - before.value, estimate.distribution - before.distribution, confidence
        )
        yield Figure(
            model=model,
            kind=row.kind,
            source=row.source,
            side=row.side,
            measure=row.measure,
            examples=row.examples,
            interval=percentile_interval(estimate.value, estimate.distribution, confidence),
            difference=None if model == base else difference,
        )
