"""Stages of a pipeline: which run, with which overrides, and which names are refused."""

import json

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.pipeline import PipelineConfig
from megatron_redone.errors import UserError

NAMES = ["a", "a.b", "c"]
STAGES = "stages=" + json.dumps([{"name": n, "stage": "sft", "config": "s.yaml", "overrides": ["x=0"]} for n in NAMES])


def load(*overrides: str) -> PipelineConfig:
    return load_config(PipelineConfig, None, [STAGES, *overrides])


def test_an_override_is_for_the_stage_with_the_longest_fitting_name() -> None:
    config = load('overrides=["a.lr=1", "a.b.lr=2", "a.b.c.d=3", "c.text=a.b=5"]')
    assert [config.entry(number).overrides for number in range(3)] == [
        ["x=0", "lr=1"],
        ["x=0", "lr=2", "c.d=3"],
        ["x=0", "text=a.b=5"],
    ]
    assert config.stages[0].overrides == ["x=0"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [0, 1, 2]),
        (["from_stage=a.b"], [1, 2]),
        (["until_stage=a.b"], [0, 1]),
        (["from_stage=a.b", "until_stage=a.b"], [1]),
    ],
)
def test_from_and_until_are_among_those_that_run(overrides: list[str], expected: list[int]) -> None:
    assert list(load(*overrides).chosen()) == expected


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stages=[]"], "stages: the list is empty"),
        (["stages=[{name: a, stage: sft}, {name: a, stage: dpo}]"], "two are called 'a'"),
        (["stages=[{name: ../a, stage: sft}]"], "stages[0].name: '../a' cannot name a file"),
        (["stages=[{name: a, stage: sft, processes: 2, launcher: srun}]"], "stages[0].processes: the launcher says"),
        (["stages=[{name: a, stage: sft, launcher: ' '}]"], "stages[0].launcher: is empty"),
        (["overrides=[d.lr=1]"], "overrides: 'd.lr=1' names no stage"),
        (["from_stage=d"], "from_stage: no stage is called 'd'; there are a, a.b, c"),
        (["from_stage=c", "until_stage=a"], "until_stage: 'a' comes before from_stage, 'c'"),
    ],
)
def test_mistakes_are_told_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(*overrides)
    assert message in str(caught.value) and "\n" not in str(caught.value)
