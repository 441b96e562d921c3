"""What is kept is what was computed, whether JSON has a word for it or not."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.evaluation.kept_values import from_line, to_line
from megatron_redone.evaluation.response_journal import ResponseJournal

INFINITE = float("inf")


@pytest.mark.parametrize(
    "value",
    [
        {"values": {"acc": -INFINITE, "pair": [INFINITE, 1.5]}, "answer": "nan", "expected": None},
        [-INFINITE, True],
        ["nan", "not_finite", {"not_finite": 1}, 0.1, 1],
        INFINITE,
    ],
)
def test_values_come_back(value: Any) -> None:
    line = to_line(value)
    assert from_line(line) == value and b"\n" not in line
    json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_nan_comes_back() -> None:
    assert math.isnan(from_line(to_line({"bits": float("nan")}))["bits"])


def test_a_response_that_is_not_finite_is_kept(tmp_path: Path) -> None:
    ResponseJournal(tmp_path / "a.partial.jsonl", "work").add("loglikelihood", ("why", "so"), [-INFINITE, True])
    again = ResponseJournal(tmp_path / "a.partial.jsonl", "work")
    assert again.find("loglikelihood", ("why", "so")) == [-INFINITE, True]
