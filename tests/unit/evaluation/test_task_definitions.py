"""Sources of an evaluation as tasks: what their results depend on, and what they do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.evaluate import EvaluateConfig
from megatron_redone.config.loader import load_config
from megatron_redone.errors import UserError
from megatron_redone.evaluation.metric_definitions import Kind, metrics_of
from megatron_redone.evaluation.task_definitions import Task, build_tasks
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import no_progress

QUESTION = {"role": "user", "content": "Which topic?"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files: dict[str, list[dict[str, Any]]] = {
        "texts": [{"text": f"text number {number}"} for number in range(6)],
        "pairs": [{"prompt": "Why?", "chosen": "Because.", "rejected": "No."}],
        "tags": [{"messages": [QUESTION, {"role": "assistant", "content": "travel, food"}]}],
    }
    for name, records in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def tasks(folder: Path, **more: Any) -> list[Task]:
    values = {
        "output": "x",
        "models": [{"path": "base"}],
        "held_out": [{"path": str(folder / "texts.jsonl"), "group": "social"}],
        "preferences": [{"path": str(folder / "pairs.jsonl")}],
        "conversations": [{"path": str(folder / "tags.jsonl"), "capability": "tag_extraction", "max_new_tokens": 3}],
        **more,
    }
    (folder / "config.yaml").write_text(json.dumps(values))
    return list(build_tasks(load_config(EvaluateConfig, str(folder / "config.yaml"))))


def works(found: list[Task], fingerprint: str = "f", place: str = "cpu float32") -> list[str]:
    return [task.work(fingerprint, place) for task in found]


def test_a_task_gives_one_result_an_example_with_what_its_metrics_need(folder: Path, chat_model: LoadedModel) -> None:
    found = tasks(folder, max_records=4)
    assert [task.file_name for task in found] == ["held_out.texts", "preferences.pairs", "conversations.tags"]
    assert [task.kind for task in found] == [Kind.held_out, Kind.preferences, Kind.conversations]
    for task, count in zip(found, (4, 1, 1), strict=True):
        results = task.evaluate(chat_model, no_progress)
        assert len(results) == count
        for metric in metrics_of(task.kind, results[0]):
            assert metric.top(results[0]) >= 0 < metric.bottom(results[0])
    assert "f1" in results[0], "an extraction is a list of items"


def test_results_depend_on_model_place_data_and_reading(folder: Path) -> None:
    first = works(tasks(folder))
    assert len(set(first)) == 3 and works(tasks(folder)) == first
    assert not {*works(tasks(folder), fingerprint="g"), *works(tasks(folder), place="cuda bfloat16")} & {*first}
    assert works(tasks(folder, batch_size=1, batch_tokens=64, device="cpu")) == first
    window = works(tasks(folder, window=64, stride=32))
    assert window[0] != first[0] and window[1:] == first[1:]
    drawn = works(tasks(folder, sample_seed=1))
    assert not {*drawn} & {*first}
    (folder / "pairs.jsonl").write_text('{"prompt": "Why?", "chosen": "Because!", "rejected": "No."}\n')
    changed = works(tasks(folder))
    assert changed[1] != first[1] and (changed[0], changed[2]) == (first[0], first[2])


def test_a_source_without_a_good_record_is_refused(folder: Path) -> None:
    (folder / "pairs.jsonl").write_text('{"prompt": "Why?"}\n')
    with pytest.raises(UserError, match=r"pairs\.jsonl"):
        tasks(folder)
