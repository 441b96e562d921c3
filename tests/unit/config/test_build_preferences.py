"""Entries that contradict themselves are refused in one line that names the key."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.build_preferences import BuildPreferencesConfig
from megatron_redone.config.loader import load_config
from megatron_redone.errors import UserError

SOURCE = {"input": ["x.jsonl"], "prompt": "{q}"}
PEOPLE = {"name": "p", "source": SOURCE, "responses": ["a", "b"], "labels": {"annotators": ["x", "y"]}}
JUDGED = {"name": "j", "source": SOURCE, "responses": ["a", "b"], "human": "p", "scores": ["s.jsonl"]}
OBJECTIVE = {"name": "o", "source": SOURCE, "candidates": ["c.jsonl"]}
STRUCTURAL = {"name": "s", "source": SOURCE, "options": {"values": ["Yes", "No"]}}
ENDPOINT = {"base_url": "http://localhost:8000/v1", "model": "m"}
ALL = {"annotated": [PEOPLE], "judged": [JUDGED], "objective": [OBJECTIVE], "structural": [STRUCTURAL]}


def load(tmp_path: Path, values: dict[str, Any]) -> Any:
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps({"output_dir": "out", **values}))
    return load_config(BuildPreferencesConfig, str(file))


def test_a_good_one(tmp_path: Path) -> None:
    assert [entry.name for entry in load(tmp_path, ALL).entries()] == ["p", "j", "o", "s"]


@pytest.mark.parametrize(
    ("strategy", "changes", "message"),
    [
        ("annotated", {"name": "a/b"}, "annotated[0].name: 'a/b' cannot name a file"),
        ("annotated", {"source": {"input": []}}, "annotated[0].source.input: the list is empty"),
        ("annotated", {"source": {**SOURCE, "prompt": "hi"}}, "annotated[0].source.prompt: names no key"),
        ("annotated", {"labels": {"annotators": []}}, "annotated[0].labels.annotators: the list is empty"),
        ("annotated", {"min_margin": 1.5}, "annotated[0].min_margin: 1.5 is more than all votes"),
        ("annotated", {"min_annotators": 3}, "annotated[0].min_annotators: 3 is more than"),
        ("annotated", {"name": "j"}, "name: 'j' is given twice"),
        ("judged", {"human": "q"}, "judged[0].human: no entry of `annotated` is named 'q'"),
        ("judged", {"endpoint": ENDPOINT}, "judged[0].scores: give either files of scores or an endpoint"),
        ("judged", {"scores": []}, "judged[0].scores: give either files of scores or an endpoint"),
        ("judged", {"min_agreement": 2}, "judged[0].min_agreement: 2.0 is more than 1"),
        ("judged", {"scores": [], "endpoint": {**ENDPOINT, "base_url": "localhost"}}, "does not begin with http"),
        ("judged", {"scores": [], "endpoint": {**ENDPOINT, "prompt": "{question} {first}"}}, "{second} is missing"),
        ("objective", {"candidates": []}, "objective[0].candidates: no answers to choose from"),
        ("objective", {"sampling": {"samples": 2}}, "objective[0].policy: answers are to be drawn from it"),
        ("objective", {"sampling": {"samples": 2, "temperature": 0}}, "sampling.temperature: 0 gives the same answer"),
        ("objective", {"wrong_below": 0}, "objective[0].wrong_below"),
        ("objective", {"scorer": "bleu"}, "Invalid value 'bleu', expected one of [exact"),
        ("structural", {"options": {}}, "structural[0].options.keys: give either keys of the record or values"),
        ("structural", {"options": {"keys": ["a", "b"]}}, "structural[0].options.separator: several keys"),
        ("structural", {"pairs_per_record": 0}, "structural[0].pairs_per_record"),
    ],
)
def test_contradictions(tmp_path: Path, strategy: str, changes: dict[str, Any], message: str) -> None:
    values = {**ALL, strategy: [{**ALL[strategy][0], **changes}]}
    with pytest.raises(UserError) as caught:
        load(tmp_path, values)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_to_do_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all are empty"):
        load(tmp_path, {})
