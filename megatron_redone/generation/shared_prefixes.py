"""Which sequences begin alike, so that what they share (few-shot examples, instructions) is computed once.

Sequences in lexicographic order stand beside those that they share most with. Neighbours belong together where they
share at least half of what either shares with its other neighbour: a border between two subjects, each with examples of
its own, is a valley in that.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

LEAST = 32  # tokens: a shorter prefix is not worth a pass of its own


@dataclass(frozen=True)
class PrefixGroup:
    """Sequences that begin alike.

    Attributes:
        length: Tokens that all of them begin with; 0 for those that share nothing.
        members: Their numbers.
    """

    length: int
    members: list[int]


def group_by_prefix(sequences: Sequence[Sequence[int]], shareable: Sequence[int]) -> list[PrefixGroup]:
    """Cuts sequences into groups; those that stand alone are one group that shares nothing.

    Args:
        sequences: Ids.
        shareable: How many of each one's first tokens may be shared: what is asked for must stand behind them.
    """
    order = sorted(range(len(sequences)), key=lambda number: list(sequences[number]))
    shared = [
        min(_common(sequences[a], sequences[b]), shareable[a], shareable[b]) for a, b in itertools.pairwise(order)
    ]
    groups: list[PrefixGroup] = []
    alone: list[int] = []
    begin = 0
    for end in range(1, len(order) + 1):
        if end < len(order) and _belong_together(shared, end - 1):
            continue
        members = order[begin:end]
        if len(members) == 1:
            alone += members
        else:
            groups.append(PrefixGroup(min(shared[begin : end - 1]), members))
        begin = end
    return [*groups, PrefixGroup(0, alone)] if alone else groups


def _belong_together(shared: Sequence[int], at: int) -> bool:
    beside = shared[max(0, at - 1) : at + 2]
    return shared[at] >= max(LEAST, max(beside) / 2)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))
