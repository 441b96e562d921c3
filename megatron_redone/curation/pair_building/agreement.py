"""How far several people, or people and a judge, agree beyond chance."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import combinations


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of some annotators.

    Attributes:
        statistic: `cohen_kappa` of two annotators, `fleiss_kappa` of more.
        kappa: 1 is complete, 0 what chance gives; None where chance would agree on everything.
        observed: Share of the pairs of annotators, over all items, that gave the same label.
        items: What all of them labelled.
        pairwise: Cohen's kappa of every two annotators, over what both labelled.
    """

    statistic: str
    kappa: float | None
    observed: float | None
    items: int
    pairwise: dict[str, float | None] = field(default_factory=dict)


def measure_agreement(annotators: Sequence[str], items: Sequence[Sequence[Hashable | None]]) -> Agreement | None:
    """The agreement of two annotators or more; None for a single one.

    Args:
        annotators: Their names.
        items: For each item one label of every annotator; None where one gave none.
    """
    if len(annotators) < 2:
        return None
    complete = [labels for labels in items if None not in labels]
    columns = list(zip(*complete, strict=True)) if complete else [()] * len(annotators)
    two = len(annotators) == 2
    return Agreement(
        statistic="cohen_kappa" if two else "fleiss_kappa",
        kappa=cohen_kappa(columns[0], columns[1]) if two else fleiss_kappa(complete),
        observed=_observed(complete),
        items=len(complete),
        pairwise=_pairwise(annotators, items),
    )


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Cohen's kappa: Educational and Psychological Measurement 20 (1960), p. 37; None where chance agreement is 1.

    Args:
        first: The labels of one annotator.
        second: The other's, of the same items.
    """
    n = len(first)
    if not n:
        return None
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    counts = Counter(first), Counter(second)
    expected = sum(counts[0][label] * counts[1][label] for label in counts[0]) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def fleiss_kappa(items: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa: Psychological Bulletin 76 (1971), p. 378; None where chance agreement is 1.

    Args:
        items: The labels of every item, the same number of each; which annotator gave which is of no account.
    """
    observed = _observed(items)
    if observed is None:
        return None
    totals = Counter(label for labels in items for label in labels)
    expected = sum(count**2 for count in totals.values()) / totals.total() ** 2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def _observed(items: Sequence[Sequence[Hashable]]) -> float | None:
    if not items:
        return None
    agreeing = sum(a == b for labels in items for a, b in combinations(labels, 2))
    return agreeing / sum(len(labels) * (len(labels) - 1) // 2 for labels in items)


def _pairwise(names: Sequence[str], items: Sequence[Sequence[Hashable | None]]) -> dict[str, float | None]:
    kappas = {}
    for a, b in combinations(range(len(names)), 2):
        both = [(labels[a], labels[b]) for labels in items if labels[a] is not None and labels[b] is not None]
        kappas[f"{names[a]}/{names[b]}"] = cohen_kappa([x for x, _ in both], [y for _, y in both])
    return kappas
