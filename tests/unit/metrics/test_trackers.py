"""What was logged can be read back, by TensorBoard's own reader where it is TensorBoard's, and survives resuming."""

import json
import resource
import sys
import types
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from megatron_redone.config.loader import load_config
from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.errors import UserError
from megatron_redone.metrics.trackers import JsonlTracker, TensorBoardTracker, Trackers, open_trackers


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def log_steps(tracker, first: int, last: int, loss: float) -> None:
    for step in range(first, last + 1):
        tracker.log(step, {"loss": loss})


def test_jsonl_is_appended_line_by_line(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path / "run" / "metrics.jsonl")
    tracker.log(1, {"loss": 2.5, "grad_norm": float("nan")})
    # Readable before it is closed: a killed run keeps its figures.
    (record,) = records(tmp_path / "run" / "metrics.jsonl")
    assert record.pop("time") > 1e9
    assert record == {"step": 1, "loss": 2.5, "grad_norm": None}
    tracker.close()


def test_a_full_disk_is_told_once_and_lines_stay_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trackers = Trackers([JsonlTracker(tmp_path / "metrics.jsonl")])
    trackers.log(1, {"loss": 1.0})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "metrics.jsonl").stat().st_size + 10, limits[1]))
    try:
        for step in range(2, 400):
            trackers.log(step, {"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    trackers.log(400, {"loss": 2.0})
    trackers.close()
    steps = [record["step"] for record in records(tmp_path / "metrics.jsonl")]
    assert steps == sorted(set(steps)) and steps[:2] == [1, 2] and steps[-1] == 400
    assert caplog.text.count("metrics cannot be written") == 1


@pytest.mark.parametrize("tail", ["", '{"step": 7, "lo', '{"step": 7}'])
def test_jsonl_resumes_behind_the_step_of_the_checkpoint(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    log_steps(tracker, 1, 6, loss=1.0)
    tracker.close()
    with open(path, "a") as stream:
        stream.write(tail)
    resumed = JsonlTracker(path, resumed_step=4)
    log_steps(resumed, 5, 8, loss=2.0)
    resumed.close()
    assert [(record["step"], record["loss"]) for record in records(path)] == [
        *((step, 1.0) for step in (1, 2, 3, 4)),
        *((step, 2.0) for step in (5, 6, 7, 8)),
    ]


def test_a_step_may_have_several_records_and_a_new_run_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    for step in (1, 2, 2, 3):
        tracker.log(step, {"loss": 0.0})
    tracker.close()
    JsonlTracker(path, resumed_step=2).close()
    assert [record["step"] for record in records(path)] == [1, 2, 2]
    JsonlTracker(path, resumed_step=9).close()
    assert len(records(path)) == 3
    JsonlTracker(path).close()
    assert records(path) == []


def test_tensorboard_reads_what_was_written_and_forgets_what_was_resumed_over(tmp_path: Path) -> None:
    first = TensorBoardTracker(tmp_path)
    log_steps(first, 1, 6, loss=1.0)
    first.close()
    second = TensorBoardTracker(tmp_path, resumed_step=4)
    log_steps(second, 5, 6, loss=2.0)
    second.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        *((step, 1.0) for step in (1, 2, 3, 4)),
        *((step, 2.0) for step in (5, 6)),
    ]


def test_all_that_is_asked_for_gets_every_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list = []
    run = types.SimpleNamespace(
        id="abc", log=lambda metrics, step: logged.append((step, metrics)), finish=lambda: logged.append("finished")
    )
    starts: list[dict] = []
    wandb = types.SimpleNamespace(init=lambda **arguments: starts.append(arguments) or run)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    config = load_config(MetricsConfig, overrides=["tensorboard=true", "wandb_project=social"])
    for _ in range(2):
        trackers = open_trackers(config, tmp_path, run_config={"seed": 1})
        trackers.log(3, {"loss": 0.5})
        trackers.close()
    assert logged == [(3, {"loss": 0.5}), "finished"] * 2
    assert [start["id"] for start in starts] == [None, "abc"] and starts[0]["config"] == {"seed": 1}
    assert [record["loss"] for record in records(tmp_path / "metrics.jsonl")] == [0.5]
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("overrides", "module", "message"),
    [
        (["wandb_project=x"], "wandb", "wandb is not installed.*pip install 'wandb'"),
        (
            ["tensorboard=true"],
            "tensorboard.summary.writer.event_file_writer",
            r"tensorboard is not installed.*pip install 'megatron_redone\[tracking\]'",
        ),
    ],
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], module: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=message):
        open_trackers(load_config(MetricsConfig, overrides=overrides), tmp_path)


def test_mistakes_in_the_configuration() -> None:
    with pytest.raises(UserError, match="log_interval: 0"):
        load_config(MetricsConfig, overrides=["log_interval=0"])
    with pytest.raises(UserError, match="wandb_name: counts only with wandb_project"):
        load_config(MetricsConfig, overrides=["wandb_name=x"])
