"""Choices, ratings and rankings say the same about two responses where they mean the same."""

import itertools
from typing import Any

import numpy as np
import pytest

from megatron_redone.config.build_preferences import LabelKind, LabelsConfig
from megatron_redone.curation.pair_building.labelled_records import Record
from megatron_redone.curation.pair_building.labels import Label, categories, read_labels, sign
from megatron_redone.formats.input_records import InvalidRecordError

PEOPLE = ["ann", "bo"]


def read(kind: str, responses: int, *values: Any) -> list[Label | None]:
    record = Record("7", "x:1", [], dict(zip(PEOPLE, values, strict=False)))
    return read_labels(record, LabelsConfig(annotators=PEOPLE, kind=LabelKind[kind]), responses)


def test_a_ranking_and_the_ratings_that_follow_it_prefer_the_same() -> None:
    for order in itertools.permutations([1, 2, 3]):
        rating = [3 - order.index(number) for number in (1, 2, 3)]
        [ranked, _], [rated, _] = read("ranking", 3, list(order)), read("rating", 3, rating)
        assert ranked is not None and rated is not None
        for a, b in itertools.permutations(range(3), 2):
            assert ranked.lead(a, b) == sign(rated.lead(a, b) or 0) == np.sign(rating[a] - rating[b])


def test_a_lead_is_the_opposite_the_other_way_round() -> None:
    [label, _] = read("rating", 3, [1.5, 4, 4])
    assert label is not None and label.lead(1, 0) == 2.5 == -(label.lead(0, 1) or 0) and label.lead(1, 2) == 0


def test_a_choice_says_nothing_about_two_others_and_a_tie_is_one() -> None:
    chosen, tie = read("choice", 3, 2, 0)
    assert chosen is not None and tie is not None
    assert (chosen.lead(1, 0), chosen.lead(0, 1), chosen.lead(0, 2)) == (1, -1, None)
    assert [tie.lead(a, b) for a, b in itertools.combinations(range(3), 2)] == [0, 0, 0]


def test_agreement_is_measured_on_the_choice_or_on_every_two_responses() -> None:
    assert categories(read("choice", 3, 1, None)) == [[(1.0, 0.0, 0.0), None]]
    assert categories(read("ranking", 3, [1, 2, 3], [3, 2, 1])) == [[1, -1], [1, -1], [1, -1]]
    assert categories(read("rating", 2, [5, 5], [1, 2])) == [[0, -1]]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("choice", 3), ("choice", -1), ("choice", 1.0), ("choice", False),
        ("rating", [1]), ("rating", [1, True]), ("rating", 1), ("rating", "12"),
        ("ranking", [1, 2, 3]), ("ranking", [0, 1]), ("ranking", ["1", "2"]), ("ranking", 1),
    ],
)  # fmt: skip
def test_other_labels_are_invalid(kind: str, value: Any) -> None:
    with pytest.raises(InvalidRecordError, match="a label is not"):
        read(kind, 2, None, value)
