"""From choices, ratings and rankings of several people to pairs."""

from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.build_preferences import AnnotatedConfig
from megatron_redone.curation.pair_building.annotated import build_annotated
from megatron_redone.errors import UserError
from tests.helpers.preference_sources import entry, reasons, write_lines

PEOPLE = ["ann", "bo", "cy"]


def build(tmp_path: Path, records: list[Any], kind: str = "choice", responses: Any = ("a", "b"), **more: Any) -> Any:
    values = {
        "name": "people",
        "source": {"input": [write_lines(tmp_path / "records.jsonl", records)], "prompt": "{q}", "id_key": "id"},
        "responses": list(responses),
        "labels": {"annotators": PEOPLE, "kind": kind},
        **more,
    }
    return build_annotated(entry(AnnotatedConfig, tmp_path, values))


def record(number: int, *labels: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "q": f"question {number}",
        "a": f"A{number}",
        "b": f"B{number}",
        **dict(zip(PEOPLE, labels, strict=True)),
        **more,
    }


def test_choices_become_votes(tmp_path: Path) -> None:
    records = [record(0, 1, 1, 2), record(1, 2, 2, 2), record(2, 1, 2, 0), record(3, 2, 0, None), record(4, 0, 0, 0)]
    result = build(tmp_path, records)
    made = [(p.record.id, p.chosen, p.rejected, p.chosen_reward, p.rejected_reward) for p in result.pairs]
    assert made == [("0", "A0", "B0", 2 / 3, 1 / 3), ("1", "B1", "A1", 1, 0), ("3", "B3", "A3", 0.5, 0)]
    assert [p.provenance["margin"] for p in result.pairs] == pytest.approx([1 / 3, 1, 0.5])
    assert result.pairs[1].provenance["responses"] == [2, 1]
    assert result.pairs[1].record.messages == [{"role": "user", "content": "question 1"}]
    assert reasons(result) == {"a tie": 2}


@pytest.mark.parametrize(("margin", "pairs"), [(0, 3), (0.33, 3), (1 / 3, 3), (0.34, 2), (0.5, 2), (0.51, 1), (1, 1)])
def test_the_threshold_on_the_margin(tmp_path: Path, margin: float, pairs: int) -> None:
    records = [record(0, 1, 1, 2), record(1, 2, 2, 2), record(3, 2, 0, None)]
    result = build(tmp_path, records, min_margin=margin)
    assert len(result.pairs) == pairs
    assert reasons(result) == ({"lead below min_margin": 3 - pairs} if pairs < 3 else {})


def test_too_few_annotators(tmp_path: Path) -> None:
    result = build(tmp_path, [record(0, 1, 1, 2), record(1, 2, 2, None), record(2, None, None, None)], min_annotators=3)
    assert [pair.record.id for pair in result.pairs] == ["0"]
    assert reasons(result) == {"compared by fewer than min_annotators": 1, "no annotator labelled it": 1}


def test_ratings_of_three_responses_in_a_list(tmp_path: Path) -> None:
    records = [{"id": 7, "q": "?", "r": ["x", "y", "z"], "ann": [5, 3, 3], "bo": [4, 4, 1], "cy": [3, 2, 2]}]
    result = build(tmp_path, records, kind="rating", responses=["r"], min_margin=1)
    made = [(p.chosen, p.rejected, p.chosen_reward, p.rejected_reward) for p in result.pairs]
    assert made == [("x", "y", 4, 3), ("x", "z", 4, 2), ("y", "z", 3, 2)]
    # Which of two is better, as the annotators see it: x-y + 0 +, x-z + + +, y-z 0 + 0.
    assert result.metrics["agreement"]["items"] == 3
    assert result.metrics["agreement"]["observed"] == pytest.approx((1 + 3 + 1) / 9)


def test_rankings(tmp_path: Path) -> None:
    records = [{"id": 7, "q": "?", "r": ["x", "y", "z"], "ann": [2, 1, 3], "bo": [2, 3, 1], "cy": [3, 2, 1]}]
    result = build(tmp_path, records, kind="ranking", responses=["r"])
    assert [(p.chosen, p.rejected) for p in result.pairs] == [("y", "x"), ("z", "x"), ("y", "z")]
    assert [p.provenance["margin"] for p in result.pairs] == pytest.approx([1, 1 / 3, 1 / 3])


def test_a_choice_says_nothing_about_the_others(tmp_path: Path) -> None:
    records = [{"id": 7, "q": "?", "r": ["x", "y", "z"], "ann": 1, "bo": 1, "cy": 3}]
    result = build(tmp_path, records, responses=["r"])
    made = [(p.chosen, p.rejected, p.provenance["margin"]) for p in result.pairs]
    assert made == [("x", "y", 1), ("x", "z", pytest.approx(1 / 3)), ("z", "y", 1)]


def test_invalid_records_are_told_by_reason_and_kept(tmp_path: Path) -> None:
    records = [
        record(0, 1, 1, 1),
        record(0, 2, 2, 2),
        record(1, 3, 1, 1),
        record(2, 1, 1, 1, a=" "),
        record(3, 1, 1, 1, a=True),
        {"id": 4, "q": "?", "b": "B", "ann": 1},
        record(5, 1, 1, 1, q=["x"]),
        record(6, 1, 1, 1, q=" "),
        record(8, 1, 1, 1, b="A8"),
        "{not json",
        "[1, 2]",
    ]
    result = build(tmp_path, records)
    assert [pair.record.id for pair in result.pairs] == ["0"] and result.records.total == len(records)
    assert reasons(result) == {
        "'a' is a boolean, not a string": 1,
        "'a' is empty": 1,
        "'id' identifies an earlier record too": 1,
        "'q' is not a list of messages with role and content": 1,
        "a label is not the number of a response, from 1 to 2, or 0": 1,
        "both responses are the same": 1,
        "empty prompt": 1,
        "malformed JSON": 1,
        "no key 'a'": 1,
        "a JSON array, not an object": 1,
    }
    assert sum(item.is_invalid for item in result.no_pairs) == 9
    assert {item.origin.rsplit(":", 1)[1] for item in result.no_pairs} == {
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
        "9",
        "10",
        "11",
    }


def test_a_pair_is_taken_once(tmp_path: Path) -> None:
    twice = [record(0, 1, 1, 1), record(1, 1, 1, 1, q="question 0", a="A0", b="B0")]
    result = build(tmp_path, twice)
    assert len(result.pairs) == 1 and reasons(result) == {"the same pair stands before": 1}


def test_messages_as_a_prompt(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "so"},
    ]
    result = build(tmp_path, [record(0, 1, 1, 1, q=turns), record(1, 1, 1, 1, q=turns[:2])])
    assert [pair.record.messages for pair in result.pairs] == [turns]
    assert reasons(result) == {"'q' ends with an answer, not with what is to be answered": 1}


def test_a_misspelt_annotator_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no record has the key 'cy'"):
        build(tmp_path, [{"id": 0, "q": "?", "a": "x", "b": "y", "ann": 1, "bo": 1}])


@pytest.mark.parametrize(
    ("kind", "label", "reason"),
    [
        ("rating", [1], "a label is not a list of 2 ratings"),
        ("rating", [1, "2"], "a label is not a list of 2 ratings"),
        ("ranking", [1, 1], "a label is not a ranking of the response numbers 1 to 2"),
        ("choice", "1", "a label is not the number of a response, from 1 to 2, or 0"),
        ("choice", True, "a label is not the number of a response, from 1 to 2, or 0"),
    ],
)
def test_labels_of_another_kind(tmp_path: Path, kind: str, label: Any, reason: str) -> None:
    good = {"choice": 1, "rating": [2, 1], "ranking": [1, 2]}[kind]
    result = build(tmp_path, [record(0, good, good, good), record(1, good, good, label)], kind=kind)
    assert len(result.pairs) == 1 and reasons(result) == {reason: 1}
