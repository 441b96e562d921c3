"""The pretrain stage on several layouts: resuming, resharding, mistakes."""

import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

from megatron_redone.formats.lock import folder_lock
from tests.helpers import commands
from tests.helpers.pretrain_runs import figures, pretrain, write_dataset, write_inputs, write_model
from tests.helpers.ranks import run_on_ranks

pytestmark = pytest.mark.distributed

TP2_PP2 = ["parallel.tensor_model_parallel_size=2", "parallel.pipeline_model_parallel_size=2"]
OTHER_LAYOUTS = {
    "one process, larger micro-batch": (1, ["training.micro_batch_size=4"]),
    "TP=2 DP=2": (4, ["parallel.tensor_model_parallel_size=2", "parallel.sequence_parallel=true"]),
    "DP=4": (4, []),
    "PP=2 virtual": (2, ["parallel.pipeline_model_parallel_size=2",
                         "parallel.virtual_pipeline_model_parallel_size=2"]),
    "PP=2 uneven": (2, ["parallel.pipeline_model_parallel_size=2", "parallel.num_layers_in_last_pipeline_stage=1"]),
    "CP=2": (2, ["parallel.context_parallel_size=2"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("inputs")
    return folder, write_inputs(folder)


@pytest.fixture(scope="module")
def unbroken(inputs: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten steps on TP=2 x PP=2, saved after five."""
    output = tmp_path_factory.mktemp("unbroken")
    run(4, output, [*inputs[1], *TP2_PP2, "checkpoint.save_every=5"])
    return output


def run(world_size: int, output: Path, keys: list[str]) -> str:
    answers = run_on_ranks(world_size, pretrain, [*keys, f"output_dir={output}"], timeout=60)
    assert {code for code, _ in answers} == {0}, answers[0][1]
    return answers[0][1]


def from_step_5(unbroken: Path, output: Path) -> Path:
    """A run's folder as it was after step 5."""
    shutil.copytree(unbroken, output, dirs_exist_ok=True)
    shutil.rmtree(output / "checkpoints" / "step-00000010")
    (output / "checkpoints" / "latest").write_text("step-00000005\n")
    return output


def tensors(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = {}
    reader = FileSystemReader(checkpoint)
    _load_state_dict(state, storage_reader=reader, planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def test_resuming_on_the_same_layout_is_bit_equal(
    unbroken: Path, inputs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    resumed = from_step_5(unbroken, tmp_path / "run")
    said = run(4, resumed, [*inputs[1], *TP2_PP2, "checkpoint.save_every=5"])
    assert "going on from" in said and "step-00000005" in said
    assert figures(resumed) == figures(unbroken) and list(figures(resumed)) == list(range(1, 11))
    assert figures(resumed, "grad_norm") == figures(unbroken, "grad_norm")
    before, after = (tensors(folder / "checkpoints" / "step-00000010") for folder in (unbroken, resumed))
    assert before.keys() == after.keys() and any("exp_avg_sq" in name for name in before)
    for name, value in before.items():
        assert torch.equal(value, after[name]), name


@pytest.mark.parametrize("layout", OTHER_LAYOUTS)
def test_resuming_on_another_layout_follows_the_unbroken_run(
    layout: str, unbroken: Path, inputs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    world_size, keys = OTHER_LAYOUTS[layout]
    resumed = from_step_5(unbroken, tmp_path / "run")
    run(world_size, resumed, [*inputs[1], *keys])
    for name in ("loss", "grad_norm"):
        expected, found = figures(unbroken, name), figures(resumed, name)
        for step in range(6, 11):
            assert found[step] == pytest.approx(expected[step], rel=1e-5), (name, step)
    validation = "validation/held_out/loss"
    assert figures(resumed, validation)[10] == pytest.approx(figures(unbroken, validation)[10], rel=1e-5)


def test_init_from_takes_weights_alone(unbroken: Path, inputs: tuple[Path, list[str]], tmp_path: Path) -> None:
    checkpoint = unbroken / "checkpoints" / "step-00000010"
    keys = [*inputs[1], f"init_from={checkpoint}", "model.hf_config=null", "training.train_steps=1"]
    run(1, tmp_path / "next", keys)
    validation = "validation/held_out/loss"
    begun = figures(tmp_path / "next", validation)[0]
    assert begun == pytest.approx(figures(unbroken, validation)[10], rel=1e-5)
    assert figures(tmp_path / "next", "consumed_samples") == {1: 8}


def test_a_finished_run_says_so_and_does_nothing(
    unbroken: Path, inputs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    again = Path(shutil.copytree(unbroken, tmp_path / "again"))
    before = (again / "metrics.jsonl").read_text()
    assert "complete already: step 10 of 10" in run(1, again, inputs[1])
    assert (again / "metrics.jsonl").read_text() == before


def test_retention(inputs: tuple[Path, list[str]], tmp_path: Path) -> None:
    keys = ["checkpoint.save_every=1", "checkpoint.keep_last=2", "checkpoint.keep_every=4"]
    run(1, tmp_path / "run", [*inputs[1], *keys])
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert kept == ["latest", "step-00000004", "step-00000008", "step-00000009", "step-00000010"]


def mistakes(folder: Path) -> dict[str, tuple[list[str], str]]:
    """For each mistake the keys that make it and what must be told."""
    write_dataset(folder / "large_ids", vocab=300)
    write_dataset(folder / "short", documents=1)
    write_dataset(folder / "cut")
    (folder / "cut.bin").write_bytes((folder / "cut.bin").read_bytes()[:-8])
    write_dataset(folder / "no_bin")
    (folder / "no_bin.bin").unlink()
    write_dataset(folder / "other_tokenizer")
    (folder / "other_tokenizer.manifest.json").write_text(
        '{"format": "megatron_redone.tokens/1", "tokenizer": {"fingerprint": "0123456789abcdef", "vocab_size": 90}}'
    )
    write_model(folder / "three_heads", num_attention_heads=3, num_key_value_heads=1, hidden_size=36)
    write_model(folder / "unknown", model_type="gpt_neox")

    def blend(name: str) -> list[str]:
        return [f"data.blend=[{{path: {folder}/{name}}}]"]

    return {
        "world": (["parallel.tensor_model_parallel_size=3"], "which does not divide the 2 that run"),
        "heads": (
            [f"model.hf_config={folder}/three_heads", "parallel.tensor_model_parallel_size=2"],
            "2 does not divide the model's 3 attention heads",
        ),
        "architecture": ([f"model.hf_config={folder}/unknown"], "model_type 'gpt_neox' is not supported"),
        "tokenizer": (
            [*blend("other_tokenizer"), f"tokenizer={folder}/tokenizer"],
            "made with tokenizer 0123456789abcdef, the model's is",
        ),
        "token id": (blend("large_ids"), "but the model's vocabulary ends at 100"),
        "missing .bin": (blend("no_bin"), "no_bin.bin: no such file"),
        "truncated .bin": (blend("cut"), "the file is truncated"),
        "too short": (blend("short"), "fewer than one sample of seq_length + 1 = 1,025"),
        "batch": (["training.global_batch_size=6"], "not divisible by micro_batch_size 2 x data-parallel size 2"),
        "no model": (["model.hf_config=nowhere"], "no such file"),
        "no checkpoint": (["init_from=nowhere"], "is not the checkpoint of a run"),
        "schedule": (["optimizer.warmup_steps=11"], "11 is more than the 10 steps of the run"),
    }


def test_mistakes_end_all_ranks_with_one_line(inputs: tuple[Path, list[str]], tmp_path: Path) -> None:
    from tests.helpers import small_tokenizer

    small_tokenizer.train(tmp_path / "tokenizer")
    for what, (keys, message) in mistakes(tmp_path).items():
        length = ["data.seq_length=1024"] if what == "too short" else []
        answers = run_on_ranks(2, pretrain, [*inputs[1], *keys, *length, f"output_dir={tmp_path}/out"], timeout=60)
        assert [code for code, _ in answers] == [2, 2], (what, answers)
        told = [line for line in answers[0][1].splitlines() if message in line]
        assert len(told) == 1, (what, answers[0][1])
        assert message not in answers[1][1] and "Traceback" not in answers[0][1], (what, answers)


def test_a_checkpoint_of_another_architecture_or_of_other_data_is_refused(
    unbroken: Path, inputs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    _, keys = inputs
    write_model(tmp_path / "wide", intermediate_size=96)
    write_dataset(tmp_path / "other", documents=150)
    cases = [
        ([f"model.hf_config={tmp_path}/wide"], "another architecture (intermediate_size 64 -> 96)"),
        ([f"data.blend=[{{path: {tmp_path}/other}}]"], "data changed since"),
        (["data.seed=5"], "data changed since: seed 1234 -> 5"),
        (["checkpoint.resume=false"], "holds checkpoints"),
    ]
    for more, message in cases:
        output = from_step_5(unbroken, tmp_path / "run")
        [(code, said), _] = run_on_ranks(2, pretrain, [*keys, *more, f"output_dir={output}"])
        assert code == 2 and message in said, said
    said = run(1, output, [*keys, "data.seed=5", "checkpoint.accept_changed_data=true"])
    assert "data changed since: seed 1234 -> 5" in said


def test_a_damaged_checkpoint_is_told(unbroken: Path, inputs: tuple[Path, list[str]], tmp_path: Path) -> None:
    output = from_step_5(unbroken, tmp_path / "run")
    for file in (output / "checkpoints/step-00000005").glob("*.distcp"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    answers = run_on_ranks(2, pretrain, [*inputs[1], f"output_dir={output}"], timeout=60)
    assert [code for code, _ in answers] == [2, 2]
    assert ".distcp: damaged (it has " in answers[0][1] and "Traceback" not in answers[0][1]


def test_a_second_run_in_the_same_place_is_refused(inputs: tuple[Path, list[str]], tmp_path: Path) -> None:
    keys = [*inputs[1], "training.train_steps=1", f"output_dir={tmp_path}/run"]
    with folder_lock(tmp_path / "run" / "checkpoints"):
        answers = run_on_ranks(2, pretrain, keys, timeout=60)
    assert [code for code, _ in answers] == [2, 2], answers
    assert answers[0][1].count("another run is writing there") == 1 and "Traceback" not in answers[0][1]
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert [code for code, _ in run_on_ranks(2, pretrain, keys)] == [0, 0], "the lock is let go"


def pretrain_on_a_small_disk(keys: list[str]) -> tuple[int | str | None, str]:
    """A run in which rank 1 cannot write a file of more than 20 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if os.environ["RANK"] == "1":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        return pretrain(keys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(inputs: tuple[Path, list[str]], tmp_path: Path) -> None:
    keys = [*inputs[1], *TP2_PP2[:1], "training.train_steps=1", f"output_dir={tmp_path}/run"]
    answers = run_on_ranks(2, pretrain_on_a_small_disk, keys, timeout=60)
    assert [code for code, _ in answers] == [2, 2], answers
    assert answers[0][1].count("the checkpoint could not be written") == 1, answers[0][1]
    assert list((tmp_path / "run/checkpoints").iterdir()) == []


def test_a_signal_under_torchrun_saves_and_the_same_command_goes_on(
    inputs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    keys = [*inputs[1], f"output_dir={tmp_path}/run", "training.train_steps=100000", "checkpoint.save_every=null"]
    process = subprocess.Popen(
        commands.under_torchrun(2, "pretrain", *keys), env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    metrics = tmp_path / "run/metrics.jsonl"
    for _ in range(900):
        if metrics.is_file() and metrics.stat().st_size > 2000:
            break
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0 and "stopped after step" in said, said
    stopped_at = max(figures(tmp_path / "run"))
    latest = (tmp_path / "run/checkpoints/latest").read_text().split()[0]
    assert latest == f"step-{stopped_at:08d}"
    run(2, tmp_path / "run", [*keys, f"training.train_steps={stopped_at + 2}"])
    assert max(figures(tmp_path / "run")) == stopped_at + 2
