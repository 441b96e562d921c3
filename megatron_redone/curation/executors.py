"""Passes over the corpus, and what whoever runs them needs: `local_executor`, `ray_executor` or `slurm_executor`."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.base import PipelineStep

from megatron_redone.formats.lock import wait_until_free
from megatron_redone.processes.live_progress import LiveProgress

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


@contextlib.contextmanager
def shown(executor: PipelineExecutor, name: str) -> Iterator[None]:
    """Shows how far a pass is, and says at its end how long it took; datatrove itself is quiet meanwhile."""
    started, tasks = time.monotonic(), executor.world_size
    done_before = tasks - len(executor.get_incomplete_ranks())

    def state() -> tuple[int, str]:
        done = tasks - len(executor.get_incomplete_ranks())
        return done, f"{done} of {tasks} tasks"

    with LiveProgress(tasks, state, name), quiet():
        yield
    again = f", {done_before} of them done before" if done_before else ""
    log.info("%-32s %8.1f s  (%s%s)", name, time.monotonic() - started, _number(tasks), again)


def _number(tasks: int) -> str:
    return f"{tasks} tasks" if tasks > 1 else "1 task"


def wait_for_tasks(work: Path) -> None:
    """Waits for tasks that a killed run has left behind, so that nobody writes the same files."""
    for lock in running_folder(work).glob("*"):
        wait_until_free(lock, "tasks of an interrupted run are still at work; waiting for them to end")


def running_folder(work: Path) -> Path:
    """Where there is a lock file for each task at work."""
    return work / "running"


def log_folder(work: Path, number: int, part: Pass) -> Path:
    """Logs and done-markers of a pass."""
    return work / "logs" / slug(number, part)


def slug(number: int, part: Pass) -> str:
    """The number and the name of a pass, as a file's name."""
    return f"{number:02d}-" + re.sub(r"\W+", "-", part.name)


def title(number: int, passes: int, part: Pass) -> str:
    """The number and the name of a pass, as a person reads them."""
    return f"{number:2d} of {passes}  {part.name}"


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
