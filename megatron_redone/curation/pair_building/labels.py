"""What annotators said: a choice, ratings or a ranking, turned into which of two responses each prefers."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from megatron_redone.config.build_preferences import LabelKind, LabelsConfig
from megatron_redone.curation.pair_building.labelled_records import Record
from megatron_redone.formats.input_records import InvalidRecordError


@dataclass(frozen=True)
class Label:
    """What one annotator said about the responses of a record.

    Attributes:
        kind: In which form.
        scores: One for each response, higher is better. A choice is 1 for the response chosen and 0 for the others,
            a tie 0 for all; a ranking is 0 for the best, -1 for the next.
    """

    kind: LabelKind
    scores: tuple[float, ...]

    def lead(self, first: int, second: int) -> float | None:
        """By how much the first of two responses is better; None where the label does not say.

        The difference of two ratings; otherwise 1, 0 or -1. A choice of a third response says nothing.
        """
        a, b = self.scores[first], self.scores[second]
        if self.kind is LabelKind.rating:
            return a - b
        if self.kind is LabelKind.choice and a == b and any(self.scores):
            return None
        return float(sign(a - b))


def read_labels(record: Record, config: LabelsConfig, responses: int) -> list[Label | None]:
    """The label of every annotator; None of one who gave none.

    Raises:
        InvalidRecordError: a label is not of the kind that it should be.
    """
    read = _READERS[config.kind]
    labels = []
    for key in config.annotators:
        value = record.fields.get(key)
        labels.append(None if value is None else Label(config.kind, read(value, responses)))
    return labels


def categories(labels: list[Label | None]) -> list[list[Hashable | None]]:
    """What agreement is measured on: the choice, or for ratings and rankings which of every two is better.

    Returns:
        For each item one category of every annotator; None of one who gave no label.
    """
    if all(label is None or label.kind is LabelKind.choice for label in labels):
        return [[None if label is None else label.scores for label in labels]]
    responses = max(len(label.scores) for label in labels if label is not None)
    return [
        [None if label is None else sign(label.scores[i] - label.scores[j]) for label in labels]
        for i, j in combinations(range(responses), 2)
    ]


def sign(number: float) -> int:
    """1, 0 or -1."""
    return (number > 0) - (number < 0)


def _read_choice(value: Any, responses: int) -> tuple[float, ...]:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= responses:
        raise InvalidRecordError(f"a label is not the number of a response, from 1 to {responses}, or 0")
    return tuple(float(number == value) for number in range(1, responses + 1))


def _read_rating(value: Any, responses: int) -> tuple[float, ...]:
    numbers = isinstance(value, list) and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)
    if not numbers or len(value) != responses:
        raise InvalidRecordError(f"a label is not a list of {responses} ratings")
    return tuple(float(number) for number in value)


def _read_ranking(value: Any, responses: int) -> tuple[float, ...]:
    if not isinstance(value, list) or sorted(value, key=str) != sorted(range(1, responses + 1), key=str):
        raise InvalidRecordError(f"a label is not a ranking of the response numbers 1 to {responses}")
    return tuple(-float(value.index(number)) for number in range(1, responses + 1))


_READERS: dict[LabelKind, Callable[[Any, int], tuple[float, ...]]] = {
    LabelKind.choice: _read_choice,
    LabelKind.rating: _read_rating,
    LabelKind.ranking: _read_ranking,
}
