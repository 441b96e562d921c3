"""Scores of a judge out of files."""

from pathlib import Path
from typing import Any

import pytest

from megatron_redone.curation.pair_building.judge import NoAnswer, Question
from megatron_redone.curation.pair_building.judge_scores import judge_from_files
from megatron_redone.errors import UserError
from tests.helpers.preference_sources import write_lines


def line(record: Any, order: Any, scores: Any) -> dict[str, Any]:
    return {"id": record, "order": order, "scores": scores}


def question(record: str, first: int, second: int) -> Question:
    return Question(record, [], (first, second), "x", "y")


def test_each_order_has_its_own_scores_over_all_files(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "a.jsonl", [line(7, [1, 2], [8, 3]), line("x", [3, 1], [0.5, 1])])
    other = write_lines(tmp_path / "b.jsonl", [line("7", [2, 1], [4, 6]), line(7, [1, 2], [8.0, 3])])
    judge = judge_from_files([one, other])
    asked = [question("7", 2, 1), question("x", 3, 1), question("7", 1, 2), question("x", 1, 3), question("8", 1, 2)]
    missing = NoAnswer("no scores of the judge in this order")
    assert judge(asked) == [(4.0, 6.0), (0.5, 1.0), (8.0, 3.0), missing, missing]


def test_two_scores_of_one_order_are_refused(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [line(7, [1, 2], [8, 3]), line(7, [1, 2], [8, 4])])
    with pytest.raises(UserError, match=r"a\.jsonl:2: other scores for record '7' stand before; keep one"):
        judge_from_files([file])


@pytest.mark.parametrize(
    "bad",
    [
        "{not json",
        [1, 2],
        {"order": [1, 2], "scores": [1, 2]},
        line(7, [1], [1, 2]),
        line(7, [1, 2.5], [1, 2]),
        line(7, [1, 2], [1, True]),
        line(7, [1, 2], ["8", "3"]),
        line(7, [1, 2], None),
    ],
)
def test_another_form_is_refused_with_its_place(tmp_path: Path, bad: Any) -> None:
    file = write_lines(tmp_path / "a.jsonl", [line(1, [1, 2], [1, 2]), bad])
    with pytest.raises(UserError, match=r"a\.jsonl:2: not of the form"):
        judge_from_files([file])
