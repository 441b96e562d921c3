"""Posts with labels and scores: what is read, and every way a record can be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.evaluation.exposure_log import ExposureLog, read_exposure_log
from megatron_redone.formats.inputs import expand_inputs

POST: dict[str, Any] = {"impressions": 20, "harmful": True, "scores": {"old": 0.2, "new": 3}}


def read(folder: Path, *records: Any) -> ExposureLog:
    path = folder / "posts.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return read_exposure_log(expand_inputs([str(path)]))


def test_posts_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, POST, {**POST, "harmful": 0, "impressions": 0, "label_probability": 0.25})
    assert found.posts.impressions.tolist() == [20, 0] and found.posts.harmful.tolist() == [True, False]
    assert found.posts.sample_weights.tolist() == [1, 4]
    assert {name: scores.tolist() for name, scores in found.scores.items()} == {"old": [0.2, 0.2], "new": [3, 3]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"impressions": None}, "no key 'impressions'"),
        ({"impressions": -1}, "'impressions' is less than 0"),
        ({"impressions": "20"}, "'impressions' is not a number"),
        ({"harmful": "yes"}, "'harmful' is neither true nor false"),
        ({"label_probability": 0}, "'label_probability' is 0, of what has happened"),
        ({"scores": {"old": 0.2}}, "'scores' has other models than in the first valid record"),
        ({"scores": {"old": 0.2, "new": True}}, "'scores' is not a number"),
        ({"scores": []}, "'scores' is not an object with keys"),
    ],
)
def test_what_is_wrong_with_a_post_is_its_reason(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    found = read(tmp_path, POST, {**POST, **change})
    [invalid] = found.invalid
    assert reason in invalid.reason and found.records == 2
