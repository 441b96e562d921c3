"""Models and sources of an evaluation: the names that tables and folders have, and what is refused."""

import json
from typing import Any

import pytest

from megatron_redone.config.evaluate import EvaluateConfig
from megatron_redone.config.loader import load_config
from megatron_redone.errors import UserError

GOOD = {
    "output": "out",
    "models": [{"path": "exports/base"}, {"path": "exports/tuned/", "name": "ours"}],
    "held_out": [{"path": "posts/held_out.v1.jsonl.gz", "group": "social"}],
}


def load(**changed: Any) -> EvaluateConfig:
    overrides = [f"{name}={json.dumps(value)}" for name, value in {**GOOD, **changed}.items()]
    return load_config(EvaluateConfig, None, overrides)


def test_names_of_tables() -> None:
    config = load()
    assert [model.label for model in config.models] == ["base", "ours"]
    assert [source.label for source in config.held_out] == ["held_out"]
    assert config.base_label == "base" and load(base="ours").base_label == "ours"


@pytest.mark.parametrize(
    ("capability", "answers", "expected"),
    [
        ("information_extraction", "auto", True),
        ("Keyword Extraction", "auto", True),
        ("content_understanding", "auto", False),
        ("information_extraction", "label", False),
        ("content_understanding", "items", True),
    ],
)
def test_extractions_expect_a_list_unless_told_otherwise(capability: str, answers: str, expected: bool) -> None:
    source = {"path": "x.jsonl", "capability": capability, "answers": answers}
    assert load(conversations=[source]).conversations[0].expects_items is expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"models": []}, "models: the list is empty"),
        ({"held_out": []}, "held_out: nothing to evaluate on"),
        ({"models": [{"path": "a/x"}, {"path": "b/x"}]}, "models: two are called 'x'"),
        ({"models": [{"path": "a", "name": "../x"}]}, "models[0].name: '../x' cannot be the name of a file"),
        ({"models": [{"path": "a", "name": ".x"}]}, "models[0].name: '.x' cannot be the name of a file"),
        ({"base": "none"}, "base: 'none' is not the name of a model"),
        ({"stride": 64, "window": 64}, "stride: 64 is not less than window=64"),
        ({"bootstrap": {"confidence": 1}}, "bootstrap.confidence: 1.0 is not below 1"),
        (
            {"held_out": [{"path": "a", "group": "social", "max_records": 0}]},
            "held_out[0].max_records: 0 is less",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(**changed)
    assert message in str(caught.value) and "\n" not in str(caught.value)
