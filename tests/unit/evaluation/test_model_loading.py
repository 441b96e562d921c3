"""A model of a run that goes on is the checkpoint that was its newest when the evaluation began, to the end."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from megatron_redone.cli import main
from megatron_redone.distributed import destroy_context
from megatron_redone.stages import evaluate as stage
from tests.helpers import chat_models


def _import(folder: Path, seed: int) -> Path:
    """The checkpoint of a small random model."""
    hf = chat_models.write(folder / f"hf-{seed}", seed=seed, num_hidden_layers=1)
    assert main(["import-hf", f"hf={hf}", f"output={folder}/{seed}"]) == 0
    destroy_context()
    return folder / str(seed)


@pytest.fixture
def earlier_and_later(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    yield _import(tmp_path, 0), _import(tmp_path, 1)
    if dist.is_initialized():
        destroy_context()


def _bits(folder: Path, model: Path) -> Any:
    (folder / "posts.jsonl").write_text('{"text": "a day at the sea"}\n')
    output = folder / f"out-{model.name}"
    keys = [f"output={output}", f"models=[{{path: {model}}}]", "device=cpu", "dtype=fp32"]
    assert main(["evaluate", *keys, f"held_out=[{{path: {folder}/posts.jsonl, group: social}}]"]) == 0
    return json.loads((output / "examples" / model.name / "held_out.posts.jsonl").read_text())["bits"]


def test_a_checkpoint_saved_meanwhile_is_not_answered_for(
    earlier_and_later: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, later = earlier_and_later
    expected = _bits(tmp_path, earlier)
    assert _bits(tmp_path, later) != expected
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copytree(earlier, checkpoints / "step-00000001")
    build_tasks = stage.build_tasks

    def save_and_build(*arguments: Any) -> Any:
        shutil.copytree(later, checkpoints / "step-00000002")
        return build_tasks(*arguments)

    monkeypatch.setattr(stage, "build_tasks", save_and_build)
    assert _bits(tmp_path, tmp_path / "run") == expected
