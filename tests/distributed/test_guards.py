"""Steps that go wrong: a spike from garbage, and NaN on one rank alone. Two data-parallel ranks."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from megatron_redone.formats.indexed import IndexedDatasetWriter
from megatron_redone.training import train_step as step_module
from tests.helpers.pretrain_runs import VOCAB, figures, pretrain, write_dataset, write_model
from tests.helpers.ranks import run_on_ranks

pytestmark = pytest.mark.distributed

STEPS, BAD_STEP, TOKENS_OF_STEP = 50, 36, 8 * 32
GARBAGE = VOCAB - 1  # nowhere else
FIRST = 8 * (BAD_STEP - 1)
VALIDATION = "validation/held_out/loss"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("inputs")
    write_model(folder / "model")
    write_dataset(folder / "held_out", seed=3, vocab=GARBAGE)
    write_text(folder / "clean", garbage=False)
    write_text(folder / "poisoned", garbage=True)
    return [
        "device=cpu",
        f"model.hf_config={folder}/model",
        "model.precision=fp32",
        f"data.blend=[{{path: {folder}/poisoned, weight: 1}}]",
        f"data.validation=[{{path: {folder}/held_out}}]",
        "data.validation_samples=20",
        "data.seq_length=32",
        "data.shuffle=false",
        "training.global_batch_size=8",
        "training.micro_batch_size=2",
        f"training.train_steps={STEPS}",
        "optimizer.lr=3e-3",
        "metrics.log_interval=1",
        "checkpoint.save_every=10",
        "checkpoint.keep_last=null",
    ]


def write_text(prefix: Path, *, garbage: bool) -> None:
    """Text by a rule, with noise; the rows of one step hold one token alone where there is garbage."""
    random = np.random.default_rng(1)
    with IndexedDatasetWriter(prefix, np.int32) as writer:
        for step in range(1, STEPS + 10):
            walk = (int(random.integers(GARBAGE)) + 7 * np.arange(TOKENS_OF_STEP)) % GARBAGE
            noise = random.random(TOKENS_OF_STEP) < 0.2
            tokens = np.where(noise, random.integers(0, GARBAGE, TOKENS_OF_STEP), walk)
            if garbage and step == BAD_STEP:
                tokens = np.full(TOKENS_OF_STEP, GARBAGE)
            writer.add(tokens, np.array([TOKENS_OF_STEP]))
        writer.finish()


def run(keys: list[str], output: Path, *more: str, by: Any = pretrain) -> tuple[int | str | None, str]:
    answers = run_on_ranks(2, by, [*keys, f"output_dir={output}", *more], timeout=120)
    assert len({code for code, _ in answers}) == 1, answers
    return answers[0]


@pytest.fixture(scope="module")
def undisturbed(keys: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed")
    code, said = run([key.replace("/poisoned", "/clean") for key in keys], output)
    assert code == 0 and "spike" not in said
    return output


@pytest.mark.parametrize("reaction", ["skip", "rollback"])
def test_a_spike_is_handled_and_the_loss_reaches_the_undisturbed_one(
    reaction: str, keys: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    code, said = run(keys, tmp_path, f"guards.on_spike={reaction}")
    assert code == 0 and f"step {BAD_STEP}: a spike (" in said
    assert f"in samples {FIRST} to {FIRST + 7}: " in said
    losses = figures(tmp_path)
    assert list(losses) == list(range(1, STEPS + 1)), "each step stands once, also after going back"
    assert figures(tmp_path, VALIDATION)[STEPS] == pytest.approx(figures(undisturbed, VALIDATION)[STEPS], rel=0.02)
    state = json.loads((tmp_path / "checkpoints" / f"step-{STEPS:08d}" / "run" / "state.json").read_text())
    if reaction == "rollback":
        assert "going on from" in said and "step-00000030" in said
        assert state["left_out"] == [[FIRST, FIRST + 7]] and state["consumed_samples"] == 8 * (STEPS + 1)
        assert max(losses.values()) == losses[1], "the garbage is in no step"
    else:
        assert figures(tmp_path, "skipped") == {BAD_STEP: 1.0} and state["left_out"] == []


def test_a_run_that_went_back_resumes_without_the_samples(keys: list[str], tmp_path: Path) -> None:
    more = ["guards.on_spike=rollback", "guards.left_out_steps=2"]
    run(keys, tmp_path / "whole", *more)
    resumed = Path(shutil.copytree(tmp_path / "whole", tmp_path / "resumed"))
    shutil.rmtree(resumed / "checkpoints" / f"step-{STEPS:08d}")
    (resumed / "checkpoints" / "latest").write_text("step-00000040\n")
    code, said = run(keys, resumed, *more)
    assert code == 0 and "spike" not in said
    assert figures(resumed) == figures(tmp_path / "whole"), "what was left out, and what is known, is remembered"


def test_stop_ends_all_ranks_in_one_line(keys: list[str], tmp_path: Path) -> None:
    code, said = run(keys, tmp_path, "guards.on_spike=stop")
    assert code == 2 and f"step {BAD_STEP}: a spike (" in said and "Traceback" not in said


def poisoned_on_one_rank(keys: list[str]) -> tuple[int | str | None, str]:
    """`redone pretrain` where garbage gives gradients of NaN to the rank that reads its last row, and to no other."""
    plain = step_module.run_micro_batches

    def run_micro_batches(chunks: Any, objective: Any, batches: Any, **other: Any) -> Any:
        reports = plain(chunks, objective, batches, **other)
        is_garbage = all(bool((batch.tokens == GARBAGE).all()) for batch in batches)
        if is_garbage and torch.distributed.get_rank() == 1 and not other["forward_only"]:
            chunks[0].buffers[0].grad_data.fill_(float("nan"))
        return reports

    step_module.run_micro_batches = run_micro_batches
    try:
        return pretrain(keys)
    finally:
        step_module.run_micro_batches = plain


@pytest.mark.parametrize("reaction", ["skip", "rollback", "stop"])
def test_nan_on_one_rank_is_handled_on_all(reaction: str, keys: list[str], undisturbed: Path, tmp_path: Path) -> None:
    keys = [*keys, "guards.spike_deviations=null", f"guards.on_not_finite={reaction}"]
    code, said = run(keys, tmp_path, by=poisoned_on_one_rank)
    assert f"step {BAD_STEP}: numbers that are not finite in samples {FIRST} to {FIRST + 7}" in said
    assert code == (2 if reaction == "stop" else 0)
    if reaction != "stop":
        assert figures(tmp_path, VALIDATION)[STEPS] == pytest.approx(figures(undisturbed, VALIDATION)[STEPS], rel=0.02)


def test_a_run_that_goes_back_too_often_ends(keys: list[str], tmp_path: Path) -> None:
    # Deviations so small that ordinary steps are spikes, from the first steps that are judged.
    more = ["guards.on_spike=rollback", "guards.spike_deviations=0.1", "guards.max_rollbacks=2"]
    code, said = run(keys, tmp_path, *more)
    assert code == 2 and "has gone back 2 times already (guards.max_rollbacks)" in said
