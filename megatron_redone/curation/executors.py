"""Passes over the corpus, and datatrove's executors that run them: here, or on Slurm."""

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import multiprocess
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats

from megatron_redone.config.curate import SlurmConfig
from megatron_redone.curation.watching import Watch
from megatron_redone.formats.lock import exclusive, wait_until_free
from megatron_redone.processes.live_progress import LiveProgress
from megatron_redone.processes.parent import die_with
from megatron_redone.processes.termination import clean_end_on_sigterm

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
        work: The folder with a lock file for each process that is at work, called by its number.
    """

    work: Path

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        _end_with_parent()
        with exclusive(_running(self.work) / str(os.getpid()), self.work), quiet():
            return super()._run_for_rank(rank, local_rank, node_rank)


@cache  # once a process
def _end_with_parent() -> None:
    parent = multiprocess.parent_process()  # type: ignore[attr-defined]
    if parent is not None:
        threading.Thread(target=die_with, args=(parent,), daemon=True).start()


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
    # datatrove begins processes anew for every pass; so they find everything imported.
    forkserver = multiprocess.get_context("forkserver")  # type: ignore[attr-defined]
    forkserver.set_forkserver_preload(["megatron_redone.curation.passes", "megatron_redone.processes.fork_server"])
    with clean_end_on_sigterm():
        for number, part in enumerate(passes, 1):
            logs = str(_log_folder(work, number, part))
            executor = LocalExecutor(part.steps, part.tasks, min(workers, part.tasks), logs)
            executor.work = work
            _run_pass(executor, f"{number:2d} of {len(passes)}  {part.name}", _running(work))


def _run_pass(executor: LocalExecutor, name: str, running: Path) -> None:
    started = time.monotonic()
    done_before = executor.tasks - len(executor.get_incomplete_ranks())

    def state() -> tuple[int, str]:
        done = executor.tasks - len(executor.get_incomplete_ranks())
        return done, f"{done} of {executor.tasks} tasks"

    with Watch(running), LiveProgress(executor.tasks, state, name), quiet():
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
    for lock in _running(work).glob("*"):
        wait_until_free(lock, "tasks of an interrupted run are still at work; waiting for them to end")


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
