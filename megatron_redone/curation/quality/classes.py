"""Classes of documents that are alike in language and length, and what stays of each.

A model's loss depends on the language and the length of a text more than on its quality: one threshold for all would
drop whole languages and the short posts. So percentiles are taken within each class, of one source.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OTHERS = "other languages"


@dataclass(frozen=True)
class Classes:
    """Which class each document is of.

    Attributes:
        numbers: int64 [N].
        names: Of the classes, such as `zh 96-319`.
    """

    numbers: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class Cut:
    """What stays.

    Attributes:
        percentiles: float64 [N], of each document's score within its class, between 0 and 1.
        kept: bool [N].
        drawn: bool [N], as many documents of each class, drawn by chance.
    """

    percentiles: np.ndarray
    kept: np.ndarray
    drawn: np.ndarray


def classify(languages: np.ndarray, letters: np.ndarray, borders: Sequence[int], least: int) -> Classes:
    """Puts documents of one source into classes.

    Args:
        languages: str [N].
        letters: int64 [N].
        borders: Of lengths, rising.
        least: Documents of a class at least: smaller ones are joined with the next length, and languages that
            have fewer with each other.
    """
    known, inverse, counts = np.unique(languages, return_inverse=True, return_counts=True)
    shown = np.array([name if count >= least else OTHERS for name, count in zip(known, counts, strict=True)], object)
    own = shown[inverse] if len(known) else np.empty(0, object)
    lengths = np.searchsorted(np.asarray(borders, np.int64), letters, "right")
    numbers, names = np.zeros(len(letters), np.int64), []
    for language in sorted(set(own.tolist())):
        inside = own == language
        for first, last in _joined(np.bincount(lengths[inside], minlength=len(borders) + 1), least):
            numbers[inside & (lengths >= first) & (lengths <= last)] = len(names)
            names.append(f"{language} {_range(borders, first, last)}")
    return Classes(numbers, names)


def _joined(counts: np.ndarray, least: int) -> list[tuple[int, int]]:
    """Ranges of lengths with at least so many documents each, the last ones joined with what comes before."""
    ranges: list[tuple[int, int]] = []
    first, total = 0, 0
    for length, count in enumerate(counts.tolist()):
        total += count
        if total >= least:
            ranges.append((first, length))
            first, total = length + 1, 0
    last = len(counts) - 1
    if not ranges:
        return [(0, last)]
    return [*ranges[:-1], (ranges[-1][0], last)]


def _range(borders: Sequence[int], first: int, last: int) -> str:
    low = borders[first - 1] if first else 0
    return f"{low}-{borders[last] - 1}" if last < len(borders) else f"{low}-"


def cut(classes: Classes, scores: np.ndarray, draws: np.ndarray, keep_from: float, keep_to: float) -> Cut:
    """Chooses by percentile within each class; beside it as many by chance.

    Args:
        classes: Of the documents.
        scores: float64 [N].
        draws: uint64 [N], by which is drawn; equal scores stand in their order.
        keep_from: The percentile from which documents stay.
        keep_to: The percentile below which they stay.
    """
    percentiles = np.zeros(len(scores))
    drawn = np.zeros(len(scores), bool)
    for number in range(len(classes.names)):
        members = np.flatnonzero(classes.numbers == number)
        order = members[np.lexsort((draws[members], scores[members]))]
        percentiles[order] = (np.arange(len(order)) + 0.5) / len(order)
        staying = int(((percentiles[order] >= keep_from) & (percentiles[order] < keep_to)).sum())
        drawn[members[np.argsort(draws[members], kind="stable")[:staying]]] = True
    return Cut(percentiles, (percentiles >= keep_from) & (percentiles < keep_to), drawn)
