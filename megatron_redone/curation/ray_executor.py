"""Passes run by Ray: by one that is there, or by one that is started on this machine for the time of the run."""

import contextlib
import logging
import os
import re
import signal
import socket
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from datatrove.executor import RayPipelineExecutor
from datatrove.utils.stats import PipelineStats

from megatron_redone.config.curate import RayConfig
from megatron_redone.curation.executors import (
    Pass,
    log_folder,
    quiet,
    running_folder,
    shown,
    slug,
    title,
    wait_for_tasks,
)
from megatron_redone.errors import UserError
from megatron_redone.formats.lock import exclusive, wait_until_free
from megatron_redone.processes.ordered_pool import worker_was_killed
from megatron_redone.processes.termination import clean_end_on_sigterm

log = logging.getLogger(__name__)

_STARTS_AGAIN = 3  # a task whose process or machine dies
_STARTS = 3
_KNOCK_S = 10
_STORE_BYTES = 100 << 20  # what goes between processes is a pass; documents go through files


class RayExecutor(RayPipelineExecutor):
    """datatrove's executor on Ray, with a task of Ray's for each of a pass.

    datatrove's own has a pool of processes within an actor, which waits for ever where one of them is killed, and
    it says nothing of a task that has failed.

    Attributes:
        work: The folder with a lock file for each task that is at work.
        slug: The name of the pass among those files.
        folder: Which relative paths are seen from.
    """

    work: Path
    slug: str
    folder: str

    def run(self) -> None:
        """Runs the tasks that are not done, as many at a time as there are to be workers."""
        import ray

        self.save_executor_as_json()
        memory = int(self.mem_per_cpu_gb * (1 << 30)) or None
        task: Any = ray.remote(_run_task).options(num_cpus=1, memory=memory, max_retries=_STARTS_AGAIN)
        executor = ray.put(self)
        ranks = iter(self.get_incomplete_ranks())
        at_work = [task.remote(executor, rank) for rank in islice(ranks, self.workers)]
        while at_work:
            done, at_work = ray.wait(at_work)
            _check(done)
            at_work += [task.remote(executor, rank) for rank in islice(ranks, len(done))]

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        os.chdir(self.folder)
        lock = running_folder(self.work) / f"{self.slug}-{rank:05d}"
        wait_until_free(lock, "a lost process is still at work on this task; waiting for it to end")
        with exclusive(lock, self.work), quiet():
            # The one above datatrove's own, which writes its logs where those of any other run go, too.
            return super(RayPipelineExecutor, self)._run_for_rank(rank, local_rank, node_rank)


def _run_task(executor: RayExecutor, rank: int) -> None:
    executor._run_for_rank(rank)


def _check(done: list[Any]) -> None:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        ray.get(done)
    except RayTaskError as failed:
        raise failed.cause from None
    except RayError:
        raise worker_was_killed() from None


def run_ray(passes: Sequence[Pass], work: Path, config: RayConfig, workers: int) -> None:
    """Runs passes one after the other; tasks that a killed run finished are not done again.

    Args:
        passes: What to run.
        work: Their logs and done-markers lie in its `logs`; every machine must see it at the same path.
        config: Which Ray, and what a task asks of it.
        workers: Tasks at the same time; 0 takes one for each of Ray's cores.

    Raises:
        UserError: there is no such Ray, a task met a mistake of the user's, or its process was killed again and again.
    """
    wait_for_tasks(work)
    running_folder(work).mkdir(exist_ok=True)
    with _connected(config, workers) as cores, clean_end_on_sigterm():
        for number, part in enumerate(passes, 1):
            logs = str(log_folder(work, number, part))
            most = min(workers or cores, part.tasks)
            with quiet():  # datatrove warns of folders that only this machine has
                executor = RayExecutor(part.steps, part.tasks, most, logging_dir=logs, mem_per_cpu_gb=config.memory_gb)
            executor.work, executor.slug, executor.folder = work, slug(number, part), os.getcwd()
            with shown(executor, title(number, len(passes), part)):
                executor.run()


@contextlib.contextmanager
def _connected(config: RayConfig, workers: int) -> Iterator[int]:
    """The number of Ray's cores; a Ray that was started here ends afterwards, and with this process in any case."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of what it will do one day
    import ray

    own: dict[str, Any] = {
        "num_cpus": workers or os.cpu_count(),
        "object_store_memory": _STORE_BYTES,
        "include_dashboard": False,
    }
    before = signal.getsignal(signal.SIGTERM)
    _start(config.address, {} if config.address else own)
    signal.signal(signal.SIGTERM, before)  # Ray has put its own there
    try:
        _check_room(config)
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()


def _start(address: str, options: dict[str, Any]) -> None:
    """Connects to Ray, or starts one, which a busy machine may not do within Ray's half minute."""
    import ray

    for left in reversed(range(_STARTS)):
        try:
            _knock(address)
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
            return
        except Exception as problem:  # what Ray raises has no class of its own
            ray.shutdown()
            if address or not left:
                reason = " ".join(str(problem).split())[:200]
                raise UserError(f"ray.address: no Ray {address or 'on this machine'}: {reason}") from None
            log.warning("Ray did not come up; starting it again")


def _knock(address: str) -> None:
    """Raises an OSError where nobody listens at `HOST:PORT`; Ray itself would try for minutes."""
    if found := re.fullmatch(r"(?:ray://)?([\w.-]+):(\d+)", address):
        socket.create_connection((found[1], int(found[2])), _KNOCK_S).close()


def _check_room(config: RayConfig) -> None:
    """A task that fits no machine would wait for ever."""
    import ray

    most = max((node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]), default=0) / (1 << 30)
    if config.memory_gb > most:
        raise UserError(f"ray.memory_gb: no machine has {config.memory_gb:g} GB for a task, but {most:.1f} at most")
