"""Passes run by processes of this machine."""

import os
import threading
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path

import multiprocess
from datatrove.executor import LocalPipelineExecutor
from datatrove.utils.stats import PipelineStats

from megatron_redone.curation.executors import Pass, log_folder, quiet, running_folder, shown, title, wait_for_tasks
from megatron_redone.curation.watching import Watch
from megatron_redone.formats.lock import exclusive
from megatron_redone.processes.parent import die_with
from megatron_redone.processes.termination import clean_end_on_sigterm


class LocalExecutor(LocalPipelineExecutor):
    """datatrove's local executor, whose tasks log to files only and hold a lock while they write.

    Datatrove's own starts a manager besides, a process that outlives a killed command for ever.

    Attributes:
        work: The folder with a lock file for each process that is at work, called by its number.
    """

    work: Path

    def run(self) -> None:
        """Runs the tasks that are not done: in this process, or in as many as there are to be workers."""
        self.save_executor_as_json()
        ranks = self.get_incomplete_ranks()
        if self.workers == 1:
            for rank in ranks:
                deepcopy(self)._run_for_rank(rank)
            return
        with multiprocess.get_context(self.start_method).Pool(self.workers) as pool:  # type: ignore[attr-defined]
            for _ in pool.imap_unordered(self._run_for_rank, ranks):
                pass

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        _end_with_parent()
        with exclusive(running_folder(self.work) / str(os.getpid()), self.work), quiet():
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
    running_folder(work).mkdir(exist_ok=True)
    # datatrove begins processes anew for every pass; so they find everything imported.
    forkserver = multiprocess.get_context("forkserver")  # type: ignore[attr-defined]
    forkserver.set_forkserver_preload(["megatron_redone.curation.passes", "megatron_redone.processes.fork_server"])
    with clean_end_on_sigterm():
        for number, part in enumerate(passes, 1):
            logs = str(log_folder(work, number, part))
            executor = LocalExecutor(part.steps, part.tasks, min(workers, part.tasks), logs)
            executor.work = work
            with Watch(running_folder(work)), shown(executor, title(number, len(passes), part)):
                executor.run()
