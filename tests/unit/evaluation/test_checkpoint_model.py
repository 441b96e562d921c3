"""A run's checkpoint answers as its export does: log-likelihoods, answers, shared prefixes, scores."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist

from megatron_redone.cli import main
from megatron_redone.config.evaluate import ComputeDtype, EvaluatedModel
from megatron_redone.config.parallel import Device
from megatron_redone.distributed import destroy_context
from megatron_redone.evaluation.checkpoint_model import load_checkpoint
from megatron_redone.evaluation.model_loading import locate
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import BatchLimits, Row, score_rows
from megatron_redone.generation.placement import choose_placement
from megatron_redone.generation.sampling import greedy_answers

LIMITS = BatchLimits(8, 4096)


@pytest.fixture(scope="module")
def checkpoint(chat_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "checkpoint"
    assert main(["import-hf", f"hf={chat_folder}", f"output={output}"]) == 0
    if dist.is_initialized():
        destroy_context()
    return output


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> Iterator[LoadedModel]:
    found = locate(EvaluatedModel(path=str(checkpoint))).checkpoint
    assert found is not None
    yield load_checkpoint(found, choose_placement(Device.cpu, ComputeDtype.fp32))
    destroy_context()


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """200 rows, in groups that share a prefix and alone."""
    random = np.random.default_rng(7)
    found = []
    for group in range(20):
        shared = random.integers(3, 200, 40 if group % 2 else 0).tolist()
        for _ in range(10):
            ids = [*shared, *random.integers(3, 200, random.integers(2, 40)).tolist()]
            found.append(Row(ids, max(1, len(ids) - int(random.integers(1, 6)))))
    return found


def test_log_likelihoods_of_200_items(ours: LoadedModel, chat_model: LoadedModel, rows: list[Row]) -> None:
    mine, theirs = score_rows(ours, rows, LIMITS), score_rows(chat_model, rows, LIMITS)
    assert len(rows) == 200
    np.testing.assert_allclose(mine.sums, theirs.sums, rtol=0, atol=1e-4)
    assert (mine.is_greedy == theirs.is_greedy).all()
    alone = score_rows(dataclasses.replace(ours, prefixes=None), rows, BatchLimits(1, 1))
    np.testing.assert_allclose(alone.sums, theirs.sums, rtol=0, atol=1e-4)


def test_answers(ours: LoadedModel, chat_model: LoadedModel, rows: list[Row]) -> None:
    prompts = [row.ids for row in rows[:40]]
    assert ours.end_ids == chat_model.end_ids
    theirs = greedy_answers(chat_model, prompts, 10, LIMITS)
    assert greedy_answers(ours, prompts, 10, LIMITS) == theirs
    assert greedy_answers(dataclasses.replace(ours, prefixes=None), prompts, 10, BatchLimits(3, 4096)) == theirs
    stop = next(text[1:3] for text in theirs if len(text) > 4)
    assert greedy_answers(ours, prompts, 10, LIMITS, stops=[stop]) == greedy_answers(
        chat_model, prompts, 10, LIMITS, stops=[stop]
    )


def test_both_stand_in_one_table(checkpoint: Path, chat_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "Note-Gender.json").write_text(
        json.dumps([{"content": f"note {n}", "answer": "Yes"} for n in range(4)])
    )
    (tmp_path / "posts.jsonl").write_text('{"text": "a day at the sea"}\n')
    keys = [
        f"output={tmp_path}/out",
        f"models=[{{path: {chat_folder}, name: exported}}, {{path: {checkpoint}, name: run}}]",
        f"benchmarks=[{{task: sns_bench_gender, data: {tmp_path}, max_new_tokens: 5}}]",
        f"held_out=[{{path: {tmp_path}/posts.jsonl, group: social}}]",
        "device=cpu",
        "dtype=fp32",
    ]
    assert main(["evaluate", *keys]) == 0
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    values = {(entry["source"], entry["model"]): entry["value"] for entry in content["metrics"]}
    assert values["posts", "run"] == pytest.approx(values["posts", "exported"], rel=1e-6)
    answers = [(tmp_path / "out" / "examples" / name / "benchmarks.sns_bench_gender.jsonl").read_text()
               for name in ("exported", "run")]  # fmt: skip
    assert answers[0] == answers[1]
