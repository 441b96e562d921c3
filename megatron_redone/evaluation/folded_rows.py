"""Means over the subsets of a benchmark: each task counted alike, and within a task each of its subsets.

The name of a subset says where it belongs: `mrc/simple` and `mrc/complex` make `mrc`, which counts as `ner` does.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from megatron_redone.evaluation.comparison import ComparedRow, Estimate
from megatron_redone.evaluation.metric_definitions import Metric


def fold_benchmarks(rows: Sequence[ComparedRow]) -> Iterator[ComparedRow]:
    """The means of every benchmark that has more than one subset or headline.

    Args:
        rows: Of all benchmarks; those that count in a mean say so.
    """
    counted = [row for row in rows if row.in_mean]
    for side in dict.fromkeys(row.side for row in counted):
        tasks: dict[str, list[ComparedRow]] = {}
        for row in counted:
            if row.side == side and row.path is not None:
                tasks.setdefault(row.path.split("/")[0], []).append(row)
        means = []
        for name, members in tasks.items():
            if "/" in str(members[0].path):
                members = [_mean(members, f"{side} {name}", name)]
                yield members[0]
            means += members
        if len(means) > 1:
            yield _mean(means, None, None)


def _mean(members: Sequence[ComparedRow], source: str | None, path: str | None) -> ComparedRow:
    first = members[0]
    return ComparedRow(
        kind=first.kind,
        source=source,
        side=first.side,
        metric=_metric_of([row.metric for row in members]),
        examples=sum(row.examples for row in members),
        estimates={
            model: Estimate(
                float(np.mean([row.estimates[model].value for row in members])),
                np.mean([row.estimates[model].distribution for row in members], axis=0),
            )
            for model in first.estimates
        },
        path=path,
        mean_of=len(members),
    )


def _metric_of(metrics: Sequence[Metric]) -> Metric:
    """What the mean of several is called."""
    titles = dict.fromkeys(metric.title for metric in metrics)
    if len({metric.name for metric in metrics}) == 1:
        return dataclasses.replace(metrics[0], title=min(titles, key=len))
    return dataclasses.replace(metrics[0], name="mean", title=" and ".join(titles))
