"""Benchmarks as tasks: their results depend on every file that decides a score, and on no other."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.evaluate import BenchmarkSource, EvaluateConfig, EvaluatedModel
from megatron_redone.evaluation.benchmark_tasks import build_benchmarks

TASK = """task: mine
dataset_path: json
output_type: generate_until
test_split: train
dataset_kwargs: {data_files: FOLDER/items.jsonl}
doc_to_text: '{{q}} ='
doc_to_target: a
process_results: !function functions.score
metric_list: [{metric: right, aggregation: mean, higher_is_better: true}]
"""
FUNCTIONS = """CASES = str.lower

def score(doc, results):
    return {"right": float(CASES(results[0]) == CASES(doc["a"]))}
"""


def work(output: Path, **source: Any) -> str:
    config = EvaluateConfig(
        output=str(output), models=[EvaluatedModel(path="base")], benchmarks=[BenchmarkSource(**source)]
    )
    [task] = build_benchmarks(config)
    return task.work("f", "cpu float32")


def test_files_of_a_task_of_ones_own_count_and_its_results_do_not(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"q": "1 + 1", "a": "2"}\n')
    (tmp_path / "mine.yaml").write_text(TASK.replace("FOLDER", str(tmp_path)))
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    output = tmp_path / "out"
    before = work(output, task="mine", include=str(tmp_path))
    output.mkdir()
    (output / "evaluation.json").write_text("{}")
    assert work(output, task="mine", include=str(tmp_path)) == before
    (tmp_path / "functions.py").write_text(FUNCTIONS.replace("lower", "upper"))
    assert work(output, task="mine", include=str(tmp_path)) != before, "what a function calls decides its scores too"


@pytest.mark.parametrize("key", ["embedding", "stand_in_embedding"])
def test_an_embedding_counts_by_its_content(key: str, tmp_path: Path) -> None:
    (tmp_path / "Note-Gender.json").write_text(json.dumps([{"content": "a note", "answer": "Yes"}]))
    source: dict[str, Any] = {"task": "sns_bench_gender", "data": str(tmp_path), key: str(tmp_path / "embedding")}
    weights = tmp_path / "embedding" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    before = work(tmp_path / "out", **source)
    assert work(tmp_path / "out", **source) == before
    weights.write_bytes(b"Weights")
    assert work(tmp_path / "out", **source) != before
