"""Passes run by Slurm, as arrays of jobs, each waiting for the one before."""

import logging
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from datatrove.executor import SlurmPipelineExecutor

from megatron_redone.config.curate import SlurmConfig
from megatron_redone.curation.executors import Pass, log_folder, quiet, slug
from megatron_redone.errors import UserError

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_LARGEST_ARRAY = 1001  # Slurm's MaxArraySize where nobody has set it; the jobs behind a pass wait for one array only
_FORGOTTEN = "Invalid job id"  # what Slurm says of jobs that ended long ago
_BROKEN = "DependencyNeverSatisfied"


class SlurmExecutor(SlurmPipelineExecutor):
    """datatrove's executor on Slurm, without the job that adds up statistics, which nobody reads."""

    def launch_merge_stats(self) -> None:
        """Does nothing."""


def submit_slurm(passes: Sequence[Pass], work: Path, config: SlurmConfig, workers: int) -> list[str]:
    """Submits passes; returns the numbers of their jobs, those of passes that are done already left out.

    Args:
        passes: What to run.
        work: Their logs and done-markers lie in its `logs`.
        config: What `sbatch` is told.
        workers: Tasks at the same time; 0 leaves it to Slurm.
    """
    executors: list[SlurmExecutor] = []
    for number, part in enumerate(passes, 1):
        executor = SlurmExecutor(
            part.steps,
            tasks=part.tasks,
            time=config.time,
            partition=config.partition,
            mem_per_cpu_gb=config.memory_gb,
            workers=workers or -1,
            job_name=f"curate-{slug(number, part)}",
            qos=config.qos,
            env_command=config.environment,
            sbatch_args=dict(text.split("=", 1) for text in config.arguments),
            depends=executors[-1] if executors else None,
            logging_dir=str(log_folder(work, number, part)),
            tasks_per_job=_tasks_per_job(part, config),
        )
        executors.append(executor)
    try:
        with quiet():
            executors[-1].run()
    except BaseException as problem:
        before = _job_numbers(executors)
        cancel(before)
        if not isinstance(problem, subprocess.CalledProcessError):
            raise
        raise UserError(
            f"executor: sbatch has refused a pass, its reason stands above; {len(before)} jobs of the passes before it "
            "were taken back"
        ) from None
    return _job_numbers(executors)


def _tasks_per_job(part: Pass, config: SlurmConfig) -> int:
    most = max(config.tasks_per_job, -(-part.tasks // _LARGEST_ARRAY))
    if most > config.tasks_per_job:
        log.info("%s: %d tasks a job, so that one array of jobs holds all %d", part.name, most, part.tasks)
    return most


def _job_numbers(executors: Sequence[SlurmExecutor]) -> list[str]:
    """Of those that were submitted."""
    return [str(executor.job_id) for executor in executors if executor.job_id not in (None, -1)]


def are_on_their_way(jobs: Sequence[str]) -> bool:
    """Whether Slurm still has jobs, and none whose predecessor has failed."""
    reasons = _reasons(jobs)
    return bool(reasons) and _BROKEN not in reasons


def cancel(jobs: Sequence[str]) -> None:
    """Takes back what Slurm still has of some jobs, and waits until none of them is at work."""
    if _reasons(jobs):
        subprocess.run(["scancel", *jobs], check=False, capture_output=True)
    while _reasons(jobs):
        time.sleep(_LOOK_EVERY_S)


def _reasons(jobs: Sequence[str]) -> list[str]:
    """Why each task of the jobs that Slurm still has waits, or `None` where it is at work."""
    if jobs and shutil.which("squeue") is None:
        raise UserError(
            f"executor: jobs were submitted before ({', '.join(jobs)}), and no squeue is on this machine to ask of "
            "them; start from a login node of Slurm, or remove work/submitted.json if they have ended"
        )
    reasons = []
    for job in jobs:
        words = ["squeue", "--noheader", f"--jobs={job}", "--format=%r"]
        asked = subprocess.run(words, check=False, capture_output=True, text=True)
        if asked.returncode and _FORGOTTEN not in asked.stderr:
            raise UserError(f"executor: squeue cannot tell of job {job}: {' '.join(asked.stderr.split())[:200]}")
        reasons += asked.stdout.split("\n")
    return [reason for reason in reasons if reason]
