"""What a perturbation of the texts costs: the unperturbed value less the perturbed one, over the same draws."""

import dataclasses
from collections.abc import Iterator, Sequence

from megatron_redone.evaluation.comparison import ComparedRow, Estimate


def lost_rows(rows: Sequence[ComparedRow]) -> Iterator[ComparedRow]:
    """A row for each metric of each perturbed subset that the unperturbed one has, too.

    Args:
        rows: Of all benchmarks; variants of the same items say so, and were resampled alike.
    """
    plain = {(row.side, row.variant_of, row.metric.name): row for row in rows if row.path == row.variant_of}
    for row in rows:
        before = plain.get((row.side, row.variant_of, row.metric.name))
        if row.variant_of and row.path != row.variant_of and before is not None:
            yield dataclasses.replace(
                row,
                metric=dataclasses.replace(
                    row.metric,
                    name=f"{row.metric.name}_lost",
                    title=f"{row.metric.title}: lost against {row.variant_of}",
                    higher_is_better=not row.metric.higher_is_better,
                ),
                estimates={
                    model: Estimate(
                        before.estimates[model].value - estimate.value,
                        before.estimates[model].distribution - estimate.distribution,
                    )
                    for model, estimate in row.estimates.items()
                },
            )
