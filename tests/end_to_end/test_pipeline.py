"""`redone pipeline` as a user runs it: once, again, changed, stopped and killed."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.helpers import commands, pretrain_runs, small_tokenizer

NAMES = ["tokens", "first", "second", "export"]
PIPELINE = {
    "stages": [
        {"name": "tokens", "stage": "tokenize", "config": "tokens.yaml"},
        {"name": "first", "stage": "pretrain", "config": "train.yaml", "processes": 2,
         "overrides": ["model.hf_config=model", "output_dir=runs/first"]},
        {"name": "second", "stage": "pretrain", "config": "train.yaml",
         "overrides": ["init_from=runs/first", "output_dir=runs/second"]},
        {"name": "export", "stage": "export-hf", "overrides": ["checkpoint=runs/second", "output=exports/final"]},
    ]
}  # fmt: skip
TOKENIZE = {"input": "posts.jsonl", "output_prefix": "data/posts", "tokenizer": {"path": "model"}, "workers": 1}
TRAIN = {
    "device": "cpu",
    "model": {"precision": "fp32"},
    "data": {"blend": [{"path": "data/posts"}], "seq_length": 32},
    "training": {"global_batch_size": 4, "train_steps": 8},
    "optimizer": {"lr": 1e-3},
    "checkpoint": {"save_every": 1},
}


def write_inputs(folder: Path) -> None:
    """A model without weights, a tokenizer, posts, and the files of the pipeline."""
    vocab = json.loads((small_tokenizer.train(folder / "model") / "tokenizer.json").read_text())
    size = len(vocab["model"]["vocab"]) + len(vocab["added_tokens"])
    pretrain_runs.write_model(folder / "model", vocab_size=size)
    posts = [json.dumps({"text": text}, ensure_ascii=False) for text in small_tokenizer.TEXT * 8]
    (folder / "posts.jsonl").write_text("\n".join(posts) + "\n")
    for name, content in {"pipeline": PIPELINE, "tokens": TOKENIZE, "train": TRAIN}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def command(folder: Path, *more: str) -> list[str]:
    config = ["--config", str(folder / "pipeline.yaml"), f"work_dir={folder}"]
    return commands.command("pipeline", *config, *more)


def pipeline(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return commands.to_its_end(command(folder, *more))


def begun(output: str) -> list[str]:
    """The stages that a run began, by what it told."""
    return re.findall(r"\[\d/\d\] (\w+): begins", output)


def plan(folder: Path, *more: str) -> dict[str, str]:
    """What --dry-run says of each stage."""
    shown = pipeline(folder, "--dry-run", *more)
    assert shown.returncode == 0, shown.stderr
    lines = [line.split(maxsplit=2) for line in shown.stdout.splitlines() if line[:3].strip().isdigit()]
    return {name: text for _, name, text in lines}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that has run through."""
    folder = tmp_path_factory.mktemp("finished")
    write_inputs(folder)
    shown = pipeline(folder)
    assert shown.returncode == 0, shown.stderr
    assert begun(shown.stderr) == NAMES
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The same in a folder that a test may change; files keep their times."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_a_second_call_does_nothing_and_says_so(finished: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    shown = pipeline(finished)
    assert shown.returncode == 0 and "nothing to do: all 4 stages are up to date" in shown.stderr
    assert begun(shown.stderr) == []
    after = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert {path for path in after if files.get(path) != after[path]} == {finished / "pipeline" / "lock"}
    assert set(plan(finished).values()) == {"up to date"}


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_changed_setting_reruns_its_stage_and_those_after_it(copy: Path) -> None:
    change(copy / "pipeline.yaml", "- init_from=runs/first", "- init_from=runs/first\n  - optimizer.lr=2e-3")
    stale = plan(copy)
    assert stale["tokens"] == stale["first"] == "up to date"
    assert "optimizer.lr 0.001 -> 0.002" in stale["second"] and "'second' is new" in stale["export"]
    before = load_file(copy / "exports/final/model.safetensors")
    shown = pipeline(copy)
    assert shown.returncode == 0 and begun(shown.stderr) == ["second", "export"], shown.stderr
    after = load_file(copy / "exports/final/model.safetensors")
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    # The run was not gone on with, and is not lost.
    assert (copy / "runs/second.replaced-1/checkpoints/latest").read_text().startswith("step-00000008\n")
    steps = [json.loads(line)["step"] for line in (copy / "runs/second/metrics.jsonl").read_text().splitlines()]
    assert min(steps) <= 1 and max(steps) == 8
    assert begun(pipeline(copy).stderr) == []


def test_the_command_line_overrides_keys_of_a_stage(finished: Path) -> None:
    stale = plan(finished, "overrides=[second.optimizer.lr=2e-3, second.training.train_steps=9]")
    assert stale["tokens"] == stale["first"] == "up to date" and "'second' is new" in stale["export"]
    assert "optimizer.lr 0.001 -> 0.002" in stale["second"] and "train_steps 8 -> 9" in stale["second"]
    for override, message in {
        "third.optimizer.lr=1": "names no stage",
        "second.optimizer.lrr=1": "did you mean",
    }.items():
        refused = pipeline(finished, "--dry-run", f"overrides=[{override}]")
        assert refused.returncode == 2 and message in refused.stderr


def test_changed_input_makes_everything_after_it_stale(copy: Path) -> None:
    with open(copy / "posts.jsonl", "a") as stream:
        stream.write('{"text": "one more"}\n')
    stale = plan(copy)
    assert "posts.jsonl has changed" in stale["tokens"] and "'tokens' is new" in stale["first"]
    assert "'first' is new" in stale["second"] and "'second' is new" in stale["export"]


def test_a_missing_output_makes_its_stage_alone_stale(copy: Path) -> None:
    shutil.rmtree(copy / "runs/first")
    stale = plan(copy)
    assert stale.pop("first").endswith("runs/first is not there") and set(stale.values()) == {"up to date"}


def test_keys_that_change_nothing_of_what_comes_out_make_nothing_stale(copy: Path) -> None:
    change(copy / "train.yaml", "save_every: 1", "save_every: 3")
    change(copy / "tokens.yaml", "workers: 1", "workers: 2")
    change(copy / "pipeline.yaml", "processes: 2", "processes: 1")
    assert set(plan(copy).values()) == {"up to date"}


def test_from_and_until(copy: Path) -> None:
    change(copy / "train.yaml", "train_steps: 8", "train_steps: 9")
    shown = plan(copy, "--from", "second", "--until", "second")
    assert shown["first"] == shown["export"] == "left as it is" and "train_steps 8 -> 9" in shown["second"]
    assert "'first' is new" not in shown["second"]
    (copy / "pipeline" / "tokens.json").unlink()
    refused = pipeline(copy, "--from", "second")
    assert refused.returncode == 2 and "from_stage: 'tokens', which comes before it, was never" in refused.stderr
    unknown = pipeline(copy, "--until", "last")
    assert unknown.returncode == 2 and "until_stage: no stage is called 'last'" in unknown.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("train.yaml", "seq_length: 32", "seq_lenght: 32", "stage 'first': .*did you mean 'seq_length'"),
        ("tokens.yaml", "posts.jsonl", "post.jsonl", "post.jsonl is not there, which is read by tokens"),
        ("pipeline.yaml", "stage: tokenize", "stage: tokenise", "stages.0..stage: 'tokenise' is no stage of a pip"),
        ("tokens.yaml", "workers: 1", "text_key: body", "stage 'tokens': .* are invalid, .*logs/tokens.log"),
    ],
)
def test_mistakes_are_told_in_one_line(copy: Path, file: str, old: str, new: str, message: str) -> None:
    change(copy / file, old, new)
    shown = pipeline(copy)
    assert shown.returncode == 2
    assert re.search(f"redone pipeline: .*{message}", shown.stderr.splitlines()[-1])


def stop(folder: Path, stage: str, number: int) -> int:
    """Starts the pipeline and sends it a signal when a stage is in the middle of its work; returns the exit code.

    No process of the stage must outlive it for long.
    """
    # Of a stage that has no steps the start is all that can be seen.
    sign = "step 3/8" if stage in ("first", "second") else "== "
    log = folder / "logs" / f"{stage}.log"
    old = log.stat().st_size if log.exists() else 0
    process = psutil.Popen(command(folder), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (log.exists() and sign in log.read_text()[old:] and process.children()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.01)
    children = process.children(recursive=True)
    process.send_signal(number)
    process.wait(120)
    _, left = psutil.wait_procs(children, timeout=60)
    assert not left
    return process.returncode


def test_killed_in_each_stage_in_turn_it_comes_to_the_same_weights(finished: Path, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    for stage in NAMES:
        assert stop(tmp_path, stage, signal.SIGKILL) == -signal.SIGKILL
        assert json.loads((tmp_path / "pipeline" / f"{stage}.json").read_text())["done"] is False
    shown = pipeline(tmp_path)
    assert shown.returncode == 0 and begun(shown.stderr) == ["export"], shown.stderr
    expected, found = (load_file(folder / "exports/final/model.safetensors") for folder in (finished, tmp_path))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert "going on from runs/second" in (tmp_path / "logs/second.log").read_text()


@pytest.mark.parametrize(("stage", "number"), [("first", signal.SIGTERM), ("second", signal.SIGINT)])
def test_a_signal_reaches_the_stage_which_saves_and_ends(copy: Path, stage: str, number: signal.Signals) -> None:
    change(copy / "pipeline.yaml", f"- output_dir=runs/{stage}", f"- output_dir=runs/{stage}\n  - optimizer.lr=3e-3")
    assert stop(copy, stage, number) == 128 + number
    log = (copy / f"logs/{stage}.log").read_text()
    assert "as asked; the same command goes on from there" in log
    assert 3 <= len(re.findall("^step ", log.rpartition("== ")[2], re.M)) < 8
    assert "was interrupted, goes on" in plan(copy)[stage]
