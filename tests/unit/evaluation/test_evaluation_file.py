"""evaluation.json is taken as it is only where it, and every file that belongs to it, is as it was written."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.evaluate import EvaluateConfig
from megatron_redone.config.loader import load_config
from megatron_redone.evaluation.evaluation_file import evaluation_content, read_complete, write_evaluation
from megatron_redone.evaluation.results import Part
from megatron_redone.evaluation.tables import sections
from megatron_redone.evaluation.task_definitions import build_tasks
from megatron_redone.generation.placement import choose_placement

KEPT = ("results/base.jsonl", "evaluation.md")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for name in KEPT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    write_evaluation(tmp_path, {"work": "abc", "metrics": [1.5]}, [tmp_path / name for name in KEPT])
    return tmp_path


def test_what_is_complete_is_read(output: Path) -> None:
    content = read_complete(output, "abc")
    assert content is not None and content["metrics"] == [1.5] and sorted(content["files"]) == sorted(KEPT)
    assert read_complete(output, "other work") is None
    assert read_complete(output / "nowhere", "abc") is None


@pytest.mark.parametrize("name", KEPT)
def test_a_file_that_is_missing_or_changed_is_found(output: Path, name: str) -> None:
    (output / name).write_text(name.upper())
    assert read_complete(output, "abc") is None
    (output / name).unlink()
    assert read_complete(output, "abc") is None


def test_a_number_that_was_changed_by_hand_is_found(output: Path) -> None:
    file = output / "evaluation.json"
    file.write_text(file.read_text().replace("1.5", "2.5"))
    assert read_complete(output, "abc") is None
    file.write_text("{")
    assert read_complete(output, "abc") is None


def test_the_content_says_what_was_compared_and_what_was_invalid(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "hello"}\n{"text": 7}\n{"text": "world"}\n')
    values: dict[str, Any] = {
        "output": str(tmp_path / "out"),
        "models": [{"path": "models/base"}, {"path": "models/ours"}],
        "held_out": [{"path": str(texts), "group": "social"}],
        "bootstrap": {"resamples": 100},
        "device": "cpu",
    }
    (tmp_path / "config.yaml").write_text(json.dumps(values))
    config = load_config(EvaluateConfig, str(tmp_path / "config.yaml"))
    tasks = list(build_tasks(config))
    results = {name: Part([{"bits": bits, "bytes": 5}] * 2, 0.5) for name, bits in (("base", 10.0), ("ours", 5.0))}
    place = choose_placement(config.device, config.dtype)
    content = evaluation_content(config, tasks, {"base": "f1", "ours": "f2"}, place, {tasks[0].file_name: results}, "w")
    content = json.loads(json.dumps(content))
    assert [model["fingerprint"] for model in content["models"]] == ["f1", "f2"] and content["place"] == "cpu float32"
    [source] = content["sources"]
    assert (source["records"], source["examples"], sum(source["invalid"].values())) == (3, 2, 1)
    [section] = sections(content)
    assert [cell.value for cell in section.rows[0].cells] == ["2.000", "1.000"]
    assert section.rows[0].cells[1].improved
