"""Logs of post-view search: weights by hand, and every way a record can be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_redone.evaluation.off_policy import SingleLog, SlateLog
from megatron_redone.evaluation.search_log import SearchLog, read_search_log
from megatron_redone.formats.inputs import expand_inputs

SINGLE: dict[str, Any] = {
    "shown": "a", "propensity": {"a": 0.5, "b": 0.5}, "click": 1,
    "policies": {"new": {"a": 0.2, "c": 0.8}}, "expected_clicks": {"a": 0.1, "b": 0.2, "c": 0.3},
}  # fmt: skip
PLAIN: dict[str, Any] = {"shown": 7, "propensity": 0.25, "click": False, "policies": {"new": 0.5, "other": 0}}
SLATE: dict[str, Any] = {
    "shown": ["a", "b"], "clicks": [0, 1], "propensity": {"marginal": [0.5, 0.25], "conditional": [0.5, 0.5]},
    "policies": {"new": {"marginal": [1.0, 0.5], "conditional": [1.0, 0.25]}},
}  # fmt: skip


def read(folder: Path, *records: Any) -> SearchLog:
    path = folder / "log.jsonl"
    path.write_text("".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in records))
    return read_search_log(expand_inputs([str(path)]))


def test_one_suggestion_by_hand(tmp_path: Path) -> None:
    found = read(tmp_path, SINGLE, {**SINGLE, "shown": "b", "click": 0, "policies": {"new": {"a": 1}}})
    new = found.policies["new"]
    assert isinstance(new.log, SingleLog) and new.has_model
    assert new.log.weights.tolist() == [0.4, 0] and new.log.clicks.tolist() == [1, 0]
    assert new.log.expected_shown.tolist() == [0.1, 0.2]
    np.testing.assert_allclose(new.log.expected_policy, [0.2 * 0.1 + 0.8 * 0.3, 0.1])
    assert new.uncovered == pytest.approx(0.4), "what only the policy shows, over two pages"


def test_one_probability_is_enough_for_a_policy(tmp_path: Path) -> None:
    found = read(tmp_path, PLAIN, {**PLAIN, "click": True})
    assert [found.policies[name].log.clicks.tolist() for name in ("new", "other")] == [[0, 1], [0, 1]]
    new, other = (found.policies[name].log for name in ("new", "other"))
    assert isinstance(new, SingleLog) and isinstance(other, SingleLog)
    assert new.weights.tolist() == [2, 2] and other.weights.tolist() == [0, 0]
    assert found.policies["new"].uncovered is None and not found.policies["new"].has_model


def test_slates_by_hand_where_one_is_shorter(tmp_path: Path) -> None:
    kinds = {"marginal": [0.5], "conditional": [0.5]}
    short = {"shown": ["b"], "clicks": [1], "propensity": kinds, "policies": {"new": kinds}}
    log = read(tmp_path, SLATE, short).policies["new"].log
    assert isinstance(log, SlateLog) and log.own_weights is not None and log.path_weights is not None
    assert log.clicks.tolist() == [[0, 1], [1, 0]]
    assert log.own_weights.tolist() == [[2, 2], [1, 1]], "a place that nobody fills weighs one"
    assert log.path_weights.tolist() == [[2, 1], [1, 1]]


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('{"shown": "a", "propensity": NaN}\n', "NaN"),
        ("[1]\n", "a JSON array, not an object"),
        (without(SINGLE, "shown"), "no key 'shown'"),
        (without(SINGLE, "propensity"), "no key 'propensity'"),
        (without(SINGLE, "click"), "no key 'click'"),
        (without(SINGLE, "policies"), "no key 'policies'"),
        (without(SINGLE, "expected_clicks"), "other policies, keys or kinds"),
        ({**SINGLE, "shown": {"a": 1}}, "'shown' is neither"),
        ({**SINGLE, "propensity": 0}, "'propensity' is 0, of what has happened"),
        ({**SINGLE, "propensity": -0.1}, "'propensity' is not between 0 and 1"),
        ({**SINGLE, "propensity": 1.5}, "'propensity' is not between 0 and 1"),
        ({**SINGLE, "propensity": "0.5"}, "'propensity' is not a number"),
        ({**SINGLE, "propensity": {"b": 1.0}}, "'propensity' is 0, of what has happened"),
        ({**SINGLE, "propensity": {"a": 0.5, "b": 0.4}}, "the probabilities of 'propensity' do not sum to 1"),
        ({**SINGLE, "click": 2}, "'click' is neither true nor false, 1 nor 0"),
        ({**SINGLE, "policies": {}}, "'policies' is not an object with keys"),
        ({**SINGLE, "policies": {"new": {"a": 0.7, "b": 0.7}}}, "the probabilities of 'policies' do not sum to 1"),
        ({**SINGLE, "policies": {"new": {"a": 1.2, "b": -0.2}}}, "'policies' is not between 0 and 1"),
        ({**SINGLE, "policies": {"new": 0.5}}, "a policy is one probability"),
        ({**SINGLE, "policies": {"newer": {"a": 1}}}, "other policies, keys or kinds"),
        ({**SINGLE, "expected_clicks": {"b": 0.5}}, "'expected_clicks' has nothing on what was shown"),
        ({**SINGLE, "expected_clicks": {"a": 0.5}}, "'expected_clicks' has nothing on what a policy may show"),
        (SLATE, "other policies, keys or kinds"),
    ],
)
def test_what_is_wrong_with_a_page_is_its_reason(tmp_path: Path, record: Any, reason: str) -> None:
    found = read(tmp_path, SINGLE, record)
    assert (found.pages, found.records) == (1, 2)
    [invalid] = found.invalid
    assert reason in invalid.reason and invalid.place == 2


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({**SLATE, "shown": []}, "'shown' is an empty list"),
        ({**SLATE, "clicks": [1]}, "'clicks' has another length than 'shown'"),
        ({**SLATE, "clicks": 1}, "'clicks' is not a list"),
        ({**SLATE, "propensity": [0.5, 0.5]}, "'propensity' is not an object with keys"),
        ({**SLATE, "propensity": {"joint": [0.5, 0.5]}}, "has marginal and conditional, and not 'joint'"),
        ({**SLATE, "propensity": {"marginal": [0.5, 0], "conditional": [0.5, 0.5]}}, "is 0, of what has happened"),
        ({**SLATE, "policies": {"new": {"marginal": [0.5, 0.5]}}}, "other kinds of probabilities than 'propensity'"),
    ],
)
def test_what_is_wrong_with_a_slate_is_its_reason(tmp_path: Path, record: Any, reason: str) -> None:
    [invalid] = read(tmp_path, SLATE, record).invalid
    assert reason in invalid.reason
