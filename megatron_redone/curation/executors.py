"""Passes over the corpus, and datatrove's executors that run them: here, or on Slurm."""

import contextlib
import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import multiprocess
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats

from megatron_redone.config.curate import SlurmConfig
from megatron_redone.curation.watching import Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pass:
    """One datatrove pipeline.

    Attributes:
        name: For people.
        steps: Its blocks.
        tasks: How many times it runs, each with a rank of its own.
    """

    name: str
    steps: list[PipelineStep]
    tasks: int


class LocalExecutor(LocalPipelineExecutor):
    """datatrove's local executor, whose tasks log to files only and hold a lock while they write.

    Attributes:
        work: The folder of the lock, and of a file for each process that is at work.
    """

    work: Path

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        with open(_lock(self.work), "w") as stream, quiet():
            fcntl.flock(stream, fcntl.LOCK_SH)
            running = _running(self.work) / str(os.getpid())
            running.touch()
            try:
                return super()._run_for_rank(rank, local_rank, node_rank)
            finally:
                running.unlink()


def run_local(passes: Sequence[Pass], work: Path, workers: int) -> None:
    """Runs passes one after the other; tasks that a killed run finished are not done again.

    Args:
        passes: What to run.
        work: Their logs and done-markers lie in its `logs`.
        workers: Processes.

    Raises:
        UserError: a task met a mistake of the user's, or its process was killed.
    """
    wait_for_tasks(work)
    _running(work).mkdir(exist_ok=True)
    for left_behind in _running(work).iterdir():
        left_behind.unlink()
    # datatrove begins processes anew for every pass; so they find everything imported.
    forkserver = multiprocess.get_context("forkserver")  # type: ignore[attr-defined]
    forkserver.set_forkserver_preload(["megatron_redone.curation.passes"])
    for number, part in enumerate(passes, 1):
        logs = str(_log_folder(work, number, part))
        executor = LocalExecutor(part.steps, part.tasks, min(workers, part.tasks), logs)
        executor.work = work
        _run_pass(executor, f"{number:2d} of {len(passes)}  {part.name}", _running(work))


def _run_pass(executor: LocalExecutor, name: str, running: Path) -> None:
    started = time.monotonic()
    done_before = executor.tasks - len(executor.get_incomplete_ranks())
    with Watch(name, running, lambda: executor.tasks - len(executor.get_incomplete_ranks()), executor.tasks), quiet():
        executor.run()
    tasks = f"{executor.tasks} tasks" if executor.tasks > 1 else "1 task"
    again = f", {done_before} of them done before" if done_before else ""
    log.info("%-32s %8.1f s  (%s%s)", name, time.monotonic() - started, tasks, again)


def submit_slurm(passes: Sequence[Pass], work: Path, config: SlurmConfig, workers: int) -> str:
    """Submits passes as job arrays, each waiting for the one before; returns the last one's job number."""
    before: SlurmPipelineExecutor | None = None
    for number, part in enumerate(passes, 1):
        before = SlurmPipelineExecutor(
            part.steps,
            tasks=part.tasks,
            time=config.time,
            partition=config.partition,
            mem_per_cpu_gb=config.memory_gb,
            workers=workers or -1,
            job_name=f"curate-{_slug(number, part)}",
            qos=config.qos,
            env_command=config.environment,
            sbatch_args=dict(text.split("=", 1) for text in config.arguments),
            depends=before,
            logging_dir=str(_log_folder(work, number, part)),
            tasks_per_job=config.tasks_per_job,
        )
    assert before is not None, "no passes"
    with quiet():
        before.run()
    return str(before.job_id)


def wait_for_tasks(work: Path) -> None:
    """Waits for tasks that a killed run has left behind, so that nobody writes the same files."""
    with open(_lock(work), "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("tasks of an interrupted run are still at work; waiting for them to end")
            fcntl.flock(stream, fcntl.LOCK_EX)


def _lock(work: Path) -> Path:
    return work / "tasks.lock"


def _running(work: Path) -> Path:
    return work / "running"


def _log_folder(work: Path, number: int, part: Pass) -> Path:
    return work / "logs" / _slug(number, part)


def _slug(number: int, part: Pass) -> str:
    return f"{number:02d}-" + re.sub(r"\W+", "-", part.name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps datatrove's progress bars and log lines, which its log files have too, off the terminal."""
    from loguru import logger

    logger.remove()  # what datatrove has set up when it was imported
    nowhere = open(os.devnull, "w")  # stays open: the logger that datatrove sets up again keeps it
    with contextlib.redirect_stderr(nowhere):
        try:
            yield
        finally:
            logger.remove()
