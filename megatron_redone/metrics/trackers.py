"""Where metrics go: a JSON-lines file always, TensorBoard and Weights & Biases when asked for.

A tracker that a run resumes with drops what was logged after the step that it resumes from: those steps
are run again.
"""

import importlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson

from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import disk_reason

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Takes metrics by the step that they belong to."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records the metrics of one step; steps never go back."""
        ...

    def close(self) -> None:
        """Flushes and lets go."""
        ...


class JsonlTracker:
    """One JSON object a line: `step`, `time` (Unix seconds) and the metrics; NaN and infinities become null."""

    def __init__(self, path: Path, resumed_step: int = 0) -> None:
        """Opens the file, cut behind the last record of `resumed_step` (0: a new run starts it anew)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(path, "ab")
        self._stream.truncate(_end_of_step(path, resumed_step))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends one line, which is in the file when this returns."""
        record = {"step": step, "time": round(time.time(), 3), **{name: float(v) for name, v in metrics.items()}}
        self._stream.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        self._stream.flush()

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


class TensorBoardTracker:
    """Event files for TensorBoard, written by its own package: neither torch nor TensorFlow is needed."""

    def __init__(self, folder: Path, resumed_step: int = 0) -> None:
        """Opens a new event file, which hides events after `resumed_step` in older ones."""
        writer = _optional("tensorboard.summary.writer.event_file_writer", "tensorboard", "megatron_redone[tracking]")
        self._event = importlib.import_module("tensorboard.compat.proto.event_pb2")
        self._summary = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        self._writer = writer.EventFileWriter(str(folder))
        start = self._event.SessionLog(status=self._event.SessionLog.START)
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=resumed_step + 1, session_log=start))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds one scalar a metric."""
        values = [self._summary.Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        summary = self._summary.Summary(value=values)
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Flushes and closes the event file."""
        self._writer.close()


class WandbTracker:
    """A run on Weights & Biases; its identity is kept in the run's folder, so that a resumed run goes on there."""

    def __init__(self, project: str, name: str | None, folder: Path, run_config: Mapping[str, Any]) -> None:
        """Starts or goes on with the run."""
        wandb = _optional("wandb", "wandb", "wandb")
        folder.mkdir(parents=True, exist_ok=True)
        identity = folder / "wandb_run_id"
        known = identity.read_text().strip() if identity.is_file() else None
        self._run = wandb.init(
            project=project, name=name, id=known, resume="allow", dir=str(folder), config=dict(run_config)
        )
        identity.write_text(self._run.id)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Sends the metrics; Weights & Biases itself ignores steps that it already has."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Waits until everything is sent."""
        self._run.finish()


class Trackers:
    """Several trackers as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        """Takes the trackers, which get every record in this order."""
        self._trackers = list(trackers)
        self._failing: set[Tracker] = set()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hands the metrics of one step to all; a full disk is told once, and ends no run."""
        for tracker in self._trackers:
            self._try(tracker, lambda tracker=tracker: tracker.log(step, metrics))

    def close(self) -> None:
        """Closes all."""
        for tracker in self._trackers:
            self._try(tracker, tracker.close)

    def _try(self, tracker: Tracker, work: Callable[[], None]) -> None:
        try:
            work()
            self._failing.discard(tracker)
        except OSError as error:
            if tracker not in self._failing:
                log.warning("metrics cannot be written (%s); the run goes on", disk_reason(error))
            self._failing.add(tracker)


def open_trackers(
    config: MetricsConfig,
    folder: Path,
    *,
    resumed_step: int = 0,
    run_config: Mapping[str, Any] | None = None,
    console: Tracker | None = None,
) -> Trackers:
    """The trackers of a run, to be opened on one rank.

    Args:
        config: Which ones.
        folder: The run's folder: `metrics.jsonl`, `tensorboard/`, `wandb/`.
        resumed_step: The step that the run resumes from, 0 for a new one.
        run_config: What Weights & Biases shows as the run's configuration.
        console: One more tracker, that prints.

    Raises:
        UserError: a package that is asked for is not installed.
    """
    trackers: list[Tracker] = [] if console is None else [console]
    if config.tensorboard:
        trackers.append(TensorBoardTracker(folder / "tensorboard", resumed_step))
    if config.wandb_project is not None:
        trackers.append(WandbTracker(config.wandb_project, config.wandb_name, folder / "wandb", run_config or {}))
    trackers.append(JsonlTracker(folder / "metrics.jsonl", resumed_step))
    return Trackers(trackers)


def _end_of_step(path: Path, step: int) -> int:
    """The size of the file up to its first record of a later step, or up to a line that is not whole."""
    size = 0
    if step == 0:
        return size
    with open(path, "rb") as stream:
        for line in stream:
            try:
                recorded = orjson.loads(line)["step"] if line.endswith(b"\n") else None
            except (orjson.JSONDecodeError, KeyError, TypeError):
                recorded = None
            if recorded is None or recorded > step:
                break
            size += len(line)
    return size


def _optional(module: str, package: str, requirement: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"{package} is not installed, but metrics are to go there; run: pip install '{requirement}'"
        ) from None
