"""What a pipeline does with its stages, which are played here: order, failures, and what lies in their outputs."""

import json
import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.pipeline import PipelineConfig, PipelineEntry
from megatron_redone.errors import UserError
from megatron_redone.pipeline import runner
from megatron_redone.pipeline.markers import read_marker
from megatron_redone.pipeline.stage_process import Ending

TOKENIZE = {"input": ["posts.jsonl"], "output_prefix": "tokens/a", "tokenizer": {"path": "model"}}
TRAIN = {
    "output_dir": "runs/a",
    "init_from": "model",
    "data": {"blend": [{"path": "tokens/a"}], "seq_length": 8},
    "training": {"global_batch_size": 1, "train_steps": 1},
}


class Stages:
    """Stands for the processes: each writes its output, unless it is told to fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands: list[list[str]] = []
        self.fails: Callable[[str, Path], Ending | None] = lambda _, __: None

    def run(self, command: list[str], work_dir: Path, log: Path, *_: Any) -> Ending:
        self.commands.append(command)
        stage = next(name for name in ("tokenize", "pretrain") if name in command)
        if (ending := self.fails(stage, log)) is not None:
            return ending
        output = work_dir / {"tokenize": "tokens/a.bin", "pretrain": "runs/a/config.yaml"}[stage]
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(shlex.join(command))
        return Ending(0, None)

    def pipeline(self, **keys: Any) -> PipelineConfig:
        entries = [
            PipelineEntry(name="tokens", stage="tokenize", config="tokens.yaml"),
            PipelineEntry(name="train", stage="pretrain", config="train.yaml"),
        ]
        return PipelineConfig(stages=entries, work_dir=str(self.folder), config_dir=str(self.folder), **keys)

    def run_pipeline(self, **keys: Any) -> list[str]:
        """Runs it and returns the stages that were started."""
        self.commands.clear()
        runner.run_pipeline(self.pipeline(**keys))
        return [command[3] for command in self.commands]


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    (tmp_path / "model").mkdir()
    (tmp_path / "posts.jsonl").write_text("{}")
    for name, content in {"tokens": TOKENIZE, "train": TRAIN}.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps(content))
    played = Stages(tmp_path)
    monkeypatch.setattr(runner, "run_stage", played.run)
    return played


def test_stages_run_once_in_their_order_and_again_where_something_changed(stages: Stages, tmp_path: Path) -> None:
    assert stages.run_pipeline() == ["tokenize", "pretrain"]
    assert not any("overwrite=true" in command for command in stages.commands)
    assert stages.run_pipeline() == []
    (tmp_path / "posts.jsonl").write_text("{}\n{}")
    assert stages.run_pipeline(until_stage="tokens") == ["tokenize"]
    assert "overwrite=true" in stages.commands[0]
    assert stages.run_pipeline() == ["pretrain"]


def test_the_plan_says_what_would_run_and_why(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    stages.run_pipeline(until_stage="tokens")
    runner.print_plan(stages.pipeline())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["1", "tokens", "up", "to", "date"]
    assert lines[1].endswith("pretrain: not run yet") and lines[-1].startswith("1 of 2 stages would run")
    runner.print_plan(stages.pipeline(from_stage="train"))
    assert "left as it is" in capsys.readouterr().out


@pytest.mark.parametrize("keep", [True, False])
def test_a_training_run_of_other_settings_is_put_away(keep: bool, stages: Stages, tmp_path: Path) -> None:
    stages.run_pipeline()
    before = (tmp_path / "runs/a/config.yaml").read_text()
    for seed in (1, 2):
        (tmp_path / "train.yaml").write_text(json.dumps({**TRAIN, "training": {**TRAIN["training"], "seed": seed}}))  # type: ignore[dict-item]
        assert stages.run_pipeline(keep_replaced=keep) == ["pretrain"]
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert folders == (["a", "a.replaced-1", "a.replaced-2"] if keep else ["a"])
    if keep:
        assert (tmp_path / "runs/a.replaced-1/config.yaml").read_text() == before


@pytest.mark.parametrize(
    ("log", "ending", "expected"),
    [
        ("redone tokenize: input: no such file\n", Ending(2, None), UserError),
        ("Traceback\nValueError: x\n", Ending(1, None), 1),
        ("", Ending(-9, None), 137),
        ("step 1/8\n", Ending(0, 15), 143),
    ],
)
def test_a_stage_that_fails_ends_the_pipeline_with_its_code(
    log: str, ending: Ending, expected: Any, stages: Stages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: str, path: Path) -> Ending:
        with open(path, "a") as stream:
            stream.write(log)
        return ending

    stages.fails = fails
    with pytest.raises(expected if isinstance(expected, type) else SystemExit) as caught, caplog.at_level(logging.INFO):
        stages.run_pipeline()
    if expected is UserError:
        assert str(caught.value).startswith("stage 'tokens': input: no such file (log: ")
    else:
        assert caught.value.code == expected and "tokens" in caplog.text  # type: ignore[attr-defined]
    assert len(stages.commands) == 1
    marker = read_marker(tmp_path, "tokens")
    assert marker is not None and marker.done == (ending.code == 0)


def test_what_is_missing_is_told_before_anything_runs(stages: Stages, tmp_path: Path) -> None:
    (tmp_path / "model").rmdir()
    with pytest.raises(UserError, match=r"^model is not there, which is read by tokens, train$"):
        stages.run_pipeline()
    assert stages.commands == []
