"""`redone pipeline`: stages in their order, each run where its settings or what it reads have changed.

Every stage is a process of its own, with its log in WORK/logs and its marker in WORK/pipeline. A run that
was killed goes on with the stage at which it was, which goes on by itself as far as it can.
"""

import dataclasses
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from megatron_redone.config.pipeline import PipelineConfig
from megatron_redone.config.schema import describe_keys
from megatron_redone.config.stage_table import STAGES
from megatron_redone.errors import UserError, exit_code_of_signal
from megatron_redone.metrics.progress import duration
from megatron_redone.pipeline.markers import write_marker
from megatron_redone.pipeline.plan import PlannedStage, make_plan, missing_inputs
from megatron_redone.pipeline.stage_files import written_files
from megatron_redone.pipeline.stage_process import (
    Ending,
    LogTail,
    last_error,
    own_error,
    run_stage,
    stage_command,
    wait_while,
)
from megatron_redone.pipeline.view import View, open_view

log = logging.getLogger(__name__)

# A stage whose pipeline was killed ends by itself; that long it is waited for.
_WAIT_FOR_LAST_S = 120.0


def run_pipeline(config: PipelineConfig) -> None:
    """Runs what is stale, in order, up to the first stage that fails.

    Raises:
        UserError: a configuration is wrong, an input is missing, or a stage met a mistake of the user's.
        SystemExit: a stage failed otherwise, with its code; or with 128 + the signal that asked for an end.
    """
    make_plan(config)  # tells of mistakes before anything is waited for
    work_dir = Path(config.work_dir).absolute()
    with _lock(work_dir) as lock:
        plan = make_plan(config)  # another run may have finished stages meanwhile
        due = [stage for stage in plan if stage.is_due]
        if not due:
            chosen = sum(stage.chosen for stage in plan)
            log.info("nothing to do: all %d stages are up to date (%s)", chosen, work_dir / "pipeline")
            return
        if missing := missing_inputs(plan):
            raise UserError("; ".join(missing))
        began = time.monotonic()
        with open_view(plan) as view:
            for stage in due:
                others = [path for other in plan if other is not stage for path in other.marker.writes]
                _run_one(config, work_dir, stage, others, view, lock)
        log.info("%d of %d stages run in %s", len(due), len(plan), duration(time.monotonic() - began))


def print_plan(config: PipelineConfig) -> None:
    """Prints the plan: what would run, and why."""
    plan = make_plan(config)
    width = max(len(stage.entry.name) for stage in plan)
    for stage in plan:
        print(f"{stage.number:>3}  {stage.entry.name:<{width}}  {_what_happens(stage)}")
    for line in missing_inputs(plan):
        print(f"     missing: {line}")
    due = sum(stage.is_due for stage in plan)
    print(f"{due} of {len(plan)} stages would run, in {Path(config.work_dir).absolute()}")


def _what_happens(stage: PlannedStage) -> str:
    if not stage.chosen:
        return "left as it is"
    if not stage.reasons:
        return "up to date"
    processes = f", {stage.entry.processes} processes" if stage.entry.processes > 1 else ""
    return f"{stage.entry.stage}{processes}: {'; '.join(stage.reasons)}"


@contextmanager
def _lock(work_dir: Path) -> Iterator[int]:
    """Keeps a second run out; a stage that outlives its pipeline holds the lock as well."""
    try:
        for name in ("pipeline", "logs"):
            (work_dir / name).mkdir(parents=True, exist_ok=True)
        stream = open(work_dir / "pipeline" / "lock", "w")
    except OSError as error:
        raise UserError(f"work_dir: {work_dir} cannot be written to ({error.strerror})") from None
    with stream:
        if _is_taken(stream.fileno()):
            log.info("waiting for another run in %s, or for a stage that it left, to end", work_dir)
            if wait_while(lambda: _is_taken(stream.fileno()), _WAIT_FOR_LAST_S):
                raise UserError(f"work_dir: another run is at work in {work_dir}; wait for its end, or stop it")
        yield stream.fileno()


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _run_one(
    config: PipelineConfig, work_dir: Path, stage: PlannedStage, others: Sequence[str], view: View, lock: int
) -> None:
    """Runs a stage to its end.

    Args:
        config: Of the pipeline.
        work_dir: Where it runs.
        stage: One that is due.
        others: What the other stages write.
        view: What a person sees meanwhile.
        lock: The descriptor that the stage inherits.
    """
    overrides = [*stage.entry.overrides, *_replacing(stage)]
    _clear(config, work_dir, stage)
    write_marker(work_dir, stage.entry.name, dataclasses.replace(stage.marker, seconds=_seconds_before(stage)))
    file = None if stage.file is None else stage.file.absolute()
    command = stage_command(stage.entry, file, overrides, Path(config.config_dir).absolute())
    path = work_dir / "logs" / f"{stage.entry.name}.log"
    _head_log(path, command)
    tail = LogTail(path)
    began = time.monotonic()
    view.begin(stage)
    ending = run_stage(command, work_dir, path, stage.entry.processes, lock, lambda: view.look(tail.read()))
    tail.read()
    if ending.code == 0:
        seconds = time.monotonic() - began
        files = written_files(work_dir, stage.marker.writes, others)
        marker = dataclasses.replace(stage.marker, files=files, done=True, seconds=seconds)
        write_marker(work_dir, stage.entry.name, marker)
        view.end(seconds)
    _check(stage, ending, tail.lines, path)


def _seconds_before(stage: PlannedStage) -> float | None:
    return None if stage.before is None else stage.before.seconds


def _replacing(stage: PlannedStage) -> list[str]:
    """`overwrite=true` where the stage has such a key and what lies there is this pipeline's own."""
    keys = [row.name for row in describe_keys(STAGES[stage.entry.stage].config_class())]
    own = stage.before is not None and set(stage.marker.writes) <= set(stage.before.writes)
    return ["overwrite=true"] if own and "overwrite" in keys else []


def _clear(config: PipelineConfig, work_dir: Path, stage: PlannedStage) -> None:
    """Puts away a training run of other settings, which would otherwise be gone on with."""
    if stage.before is None or stage.goes_on or not STAGES[stage.entry.stage].resumes:
        return
    # First, so that an interrupt in between is not taken for a finished stage.
    write_marker(work_dir, stage.entry.name, dataclasses.replace(stage.before, done=False))
    for path in stage.before.writes:
        folder = work_dir / path
        if not folder.exists():
            continue
        if not config.keep_replaced:
            shutil.rmtree(folder)
            continue
        number = next(n for n in range(1, 1 << 20) if not _replaced(folder, n).exists())
        os.replace(folder, _replaced(folder, number))
        log.info("%s: made from other settings or data, kept as %s", path, _replaced(folder, number).name)


def _replaced(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}.replaced-{number}")


def _head_log(path: Path, command: Sequence[str]) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')}  {' '.join(command)}\n")


def _check(stage: PlannedStage, ending: Ending, lines: Sequence[str], path: Path) -> None:
    """Ends the pipeline where the stage failed, or where an end was asked for."""
    name = stage.entry.name
    if ending.signal_number is not None:
        log.info("stopped at '%s', as asked; the same command goes on there (log: %s)", name, path)
        raise SystemExit(exit_code_of_signal(ending.signal_number))
    if ending.code == 0:
        return
    own = own_error(lines)
    if own is not None:
        raise UserError(f"stage '{name}': {own} (log: {path})")
    text = last_error(lines) or "it said nothing"
    log.error("redone pipeline: stage '%s' failed with exit code %d: %s (log: %s)", name, ending.code, text, path)
    raise SystemExit(ending.code if ending.code > 0 else 128 - ending.code)
