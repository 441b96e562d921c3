"""Of the wrong answers, the one that the policy finds likeliest is rejected."""

from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.build_preferences import ObjectiveConfig
from megatron_redone.curation.pair_building.labelled_records import read_source
from megatron_redone.curation.pair_building.policy_mistakes import build_objective, read_candidates
from megatron_redone.errors import UserError
from tests.helpers.preference_sources import entry, reasons, write_lines

RECORDS = [{"id": i, "q": f"What is {i} + {i}?", "answer": f"It is {2 * i}."} for i in range(6)]
CANDIDATES = [
    {
        "id": 0,
        "candidates": [
            {"text": "1", "log_prob": -2},
            {"text": "It is 7.", "log_prob": -1},
            {"text": "0", "log_prob": 0},
        ],
    },
    {"id": 1, "candidates": ["2", "it is 2"]},
    {"id": 2, "candidates": ["5", " 5", ""]},
    {"id": 3, "candidates": []},
    {"id": 4, "candidates": [8, 9]},
]


def build(tmp_path: Path, records: list[Any] = RECORDS, log_probs: Any = None, **more: Any) -> Any:
    values = {
        "name": "sums",
        "source": {"input": [write_lines(tmp_path / "records.jsonl", records)], "prompt": "{q}", "id_key": "id"},
        "scorer": "number",
        "candidates": [write_lines(tmp_path / "candidates.jsonl", CANDIDATES)],
        **more,
    }
    config = entry(ObjectiveConfig, tmp_path, values)
    source = read_source(config.source)
    return build_objective(config, source, read_candidates(config, source.good), log_probs)


def test_the_likeliest_wrong_answer_is_rejected(tmp_path: Path) -> None:
    result = build(tmp_path)
    first, second = result.pairs
    assert (first.chosen, first.rejected, first.chosen_reward, first.rejected_reward) == ("It is 0.", "It is 7.", 1, 0)
    assert first.provenance == {"scorer": "number", "candidates": 3, "wrong_candidates": 2, "rejected_log_prob": -1}
    # A single wrong answer, written twice, needs no likelihood.
    assert (second.record.id, second.rejected, second.provenance["wrong_candidates"]) == ("2", "5", 1)
    assert reasons(result) == {
        "a candidate is neither a string nor an object with a text": 1,
        "no candidate is wrong": 1,
        "no candidates": 2,
    }
    assert result.metrics == {"candidates": 8, "wrong_candidates": 3}


def test_a_policy_goes_before_what_came_along(tmp_path: Path) -> None:
    asked: list[Any] = []

    def log_probs(answers: Any) -> list[float | None]:
        asked.extend(answers)
        return [-float(len(text)) if "7" not in text else None for _, text in answers]

    result = build(tmp_path, log_probs=log_probs)
    assert [pair.rejected for pair in result.pairs] == ["1", "5"]
    assert [text for _, text in asked] == ["1", "It is 7.", "5"]
    assert asked[0][0] == [{"role": "user", "content": "What is 0 + 0?"}]


def test_answers_too_long_for_the_policy(tmp_path: Path) -> None:
    result = build(tmp_path, log_probs=lambda answers: [None] * len(answers))
    assert [pair.rejected for pair in result.pairs] == ["5"]
    assert reasons(result)["too long for the policy"] == 1


def test_unknown_likelihoods_are_an_error(tmp_path: Path) -> None:
    CANDIDATES[2]["candidates"].append("6")
    try:
        with pytest.raises(UserError, match="1 records have several wrong answers without log_prob"):
            build(tmp_path)
    finally:
        CANDIDATES[2]["candidates"].pop()


def test_candidates_in_the_record_and_the_threshold_of_wrong(tmp_path: Path) -> None:
    records = [{"id": 0, "q": "?", "answer": "a, b, c, d", "tries": ["a, b, c", "a"]}]
    more = {"scorer": "label_set", "candidates": [], "candidates_key": "tries"}
    assert [pair.rejected for pair in build(tmp_path, records, **more).pairs] == ["a"]
    likeliest = build(tmp_path, records, lambda answers: [-1, -2], **more, wrong_below=1)
    assert [(p.rejected, p.rejected_reward) for p in likeliest.pairs] == [("a, b, c", pytest.approx(6 / 7))]


def test_candidates_of_several_places_are_joined(tmp_path: Path) -> None:
    lines = [{"id": 0, "candidates": [{"text": "7", "log_prob": -1}]}, {"id": 0, "candidates": ["0"]},
             {"id": 1, "candidates": ["8"]}, {"id": 1, "candidates": "9"}, {"id": 1, "candidates": ["10"]},
             {"id": 2, "candidates": ["11"]}]  # fmt: skip
    tries = {0: [{"text": "9", "log_prob": -3}], 3: ["12"]}
    records = [{**record, **({"tries": tries[i]} if i in tries else {})} for i, record in enumerate(RECORDS)]
    more = {"candidates": [write_lines(tmp_path / "more.jsonl", lines)], "candidates_key": "tries"}
    result = build(tmp_path, records, **more)
    # Of record 2, which has not the key, the file's answers; of 1 one list is none; 4 and 5 have none.
    assert [(pair.record.id, pair.rejected) for pair in result.pairs] == [("0", "7"), ("2", "11"), ("3", "12")]
    assert result.pairs[0].provenance["candidates"] == 3 and result.pairs[0].provenance["wrong_candidates"] == 2
    assert reasons(result) == {"the candidates are no list": 3}


def test_files_of_another_form_are_an_error(tmp_path: Path) -> None:
    other = write_lines(tmp_path / "other.jsonl", [{"id": 0, "answers": []}])
    with pytest.raises(UserError, match=r"other.jsonl:1: not of the form"):
        build(tmp_path, candidates=[other])
