"""`redone curate`: raw posts and texts to clean, deduplicated documents.

The input is cut into tasks, which datatrove runs here, on Ray or on Slurm. What is finished leaves a
done-marker in OUTPUT/work, so that a killed run goes on where it was. Which documents survive depends
on the input and the settings alone, not on the number of tasks or processes.
"""

import dataclasses
import importlib.util
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_redone.config.curate import CurateConfig, Executor, Mode, SourceConfig
from megatron_redone.config.schema import work_hash
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_json, writing_errors
from megatron_redone.formats.done_check import Finished, is_complete, read_sealed, write_sealed
from megatron_redone.formats.inputs import InputFile, expand_inputs, refuse_inputs_within
from megatron_redone.formats.lock import LOCK_NAME, folder_lock

if TYPE_CHECKING:
    from megatron_redone.curation.executors import Pass

log = logging.getLogger(__name__)

_PLAN, _SUBMITTED = "plan.json", "submitted.json"


def run(config: CurateConfig) -> None:
    """Writes NAME.jsonl for each source, held_out/, dropped/, funnel.json, funnel.txt and manifest.json.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    _require_packages(config)
    from megatron_redone.curation.outputs import finished_curation, remove_curation
    from megatron_redone.curation.passes import dropping_steps
    from megatron_redone.curation.thresholds import approved_config, measured_hash

    output = Path(config.output_dir)
    files = _input_files(config)
    facts = [*map(dataclasses.astuple, (file for _, file in files)), *_benchmark_files(config)]
    measured = measured_hash(config, facts)
    if config.mode is Mode.apply:
        config = approved_config(config, dropping_steps(config), measured)
    digest = work_hash(config, facts)
    finished = finished_curation(output)
    if is_complete(finished, digest, overwrite=config.overwrite, place=str(output)):
        shutil.rmtree(output / "work", ignore_errors=True)  # which a job on Slurm leaves
        return
    with writing_errors(output), folder_lock(output / "work") as work:
        tasks = _tasks(config, files)
        plan = f"{digest} {tasks}"
        if _jobs_are_at_it(work, is_same=config.executor is Executor.slurm and _is_planned(work, plan)):
            return
        _open_work(work, plan, is_over=finished is not None)
        if config.mode is Mode.measure:
            passes = _measuring_passes(config, files, tasks, (digest, measured), work)
        else:
            passes = _passes(config, files, tasks, digest, work)
        if config.executor is Executor.slurm:
            _submit(config, passes, work, finished)
            return
        remove_curation(output, finished)
        _run(config, passes, work, tasks)
        shutil.rmtree(work)
    _report(config)


def _require_packages(config: CurateConfig) -> None:
    needed = ("datatrove", "xxhash", "zstandard", "phonenumbers", "pycld2", "ahocorasick_rs")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{missing[0]} is missing; curating needs `pip install 'megatron_redone[curation]'`")
    if config.executor is Executor.ray and importlib.util.find_spec("ray") is None:
        raise UserError("ray is missing; executor=ray needs `pip install 'megatron_redone[ray]'`")


def _benchmark_files(config: CurateConfig) -> list[tuple[str, int]]:
    """Name and size of every file with items of evaluation sets."""
    found = []
    for name in config.decontamination.benchmarks:
        path = Path(name)
        if not path.exists() and not any(character in name for character in "*?["):
            raise UserError(f"decontamination.benchmarks: {name} does not exist")
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [(str(file), file.stat().st_size) for file in files if file.is_file()]
    return found


def _input_files(config: CurateConfig) -> list[tuple[SourceConfig, InputFile]]:
    """All files in the order of the sources, each with the source that names it."""
    owners: dict[str, str] = {}
    files = []
    for source in config.sources:
        for file in expand_inputs(source.input):
            if file.path in owners:
                raise UserError(f"{file.path}: named twice, by '{owners[file.path]}' and by '{source.name}'")
            owners[file.path] = source.name
            files.append((source, file))
    refuse_inputs_within(config.output_dir, [file for _, file in files])
    return files


def _tasks(config: CurateConfig, files: list[tuple[SourceConfig, InputFile]]) -> int:
    from megatron_redone.curation.cutting import task_count
    from megatron_redone.curation.duplicate_lists import MOST_TASKS

    if config.tasks > MOST_TASKS:
        raise UserError(f"tasks: {config.tasks:,} are more than {MOST_TASKS:,}; set a lower number")
    total = sum(file.size for _, file in files)
    if not total:
        raise UserError(f"{files[0][1].path}: the input is empty")
    return config.tasks or min(MOST_TASKS, task_count(total))


def _open_work(work: Path, plan: str, is_over: bool) -> None:
    """Keeps what an interrupted run of the same plan has done, and removes what any other has left.

    Args:
        work: The folder.
        plan: What the run does.
        is_over: Whether its result was written already, so that nothing here is to be gone on with.
    """
    from megatron_redone.curation.executors import wait_for_tasks

    if _is_planned(work, plan) and not is_over:
        return
    wait_for_tasks(work)
    (work / _PLAN).unlink(missing_ok=True)  # first: without it a kill leaves what nobody goes on with
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK_NAME:
            entry.unlink()
    write_sealed(work / _PLAN, {"plan": plan})


def _is_planned(work: Path, plan: str) -> bool:
    content, is_intact = read_sealed(work / _PLAN)
    return content is not None and is_intact and content.get("plan") == plan


def _jobs_are_at_it(work: Path, is_same: bool) -> bool:
    """Whether jobs that were submitted to Slurm before do the work; jobs that are not to do it are taken back.

    Args:
        work: The folder.
        is_same: Whether they were submitted for what is to be done now.
    """
    from megatron_redone.curation.slurm_executor import are_on_their_way, cancel

    marker = work / _SUBMITTED
    if not marker.is_file():
        return False
    jobs = json.loads(marker.read_text())["jobs"]
    if is_same and are_on_their_way(jobs):
        log.info("submitted already, the last job is %s; logs are in %s", jobs[-1], work / "logs")
        return True
    log.warning("jobs were submitted to Slurm before; what is left of them is taken back")
    cancel(jobs)
    marker.unlink()
    return False


def _passes(
    config: CurateConfig, files: list[tuple[SourceConfig, InputFile]], tasks: int, digest: str, work: Path
) -> "list[Pass]":
    from megatron_redone.curation.executors import Pass, quiet
    from megatron_redone.curation.outputs import Finish
    from megatron_redone.curation.passes import plan_passes
    from megatron_redone.curation.reading import plan_shards

    finish = Finish(config, [file for _, file in files], digest, work)
    with quiet():
        passes = plan_passes(config, plan_shards(files, tasks), work)
    return [*passes, Pass("check and finish", [finish], 1)]


def _measuring_passes(
    config: CurateConfig, files: list[tuple[SourceConfig, InputFile]], tasks: int, hashes: tuple[str, str], work: Path
) -> "list[Pass]":
    from megatron_redone.curation.executors import Pass, quiet
    from megatron_redone.curation.measured_files import FinishMeasure
    from megatron_redone.curation.passes import plan_measure
    from megatron_redone.curation.reading import plan_shards

    with quiet():
        passes = plan_measure(config, plan_shards(files, tasks), work)
    return [*passes, Pass("write tables", [FinishMeasure(config, *hashes, work)], 1)]


def _run(config: CurateConfig, passes: "list[Pass]", work: Path, tasks: int) -> None:
    if config.executor is Executor.ray:
        from megatron_redone.curation.ray_executor import run_ray

        run_ray(
            passes,
            work,
            config.ray,
            min(config.workers or (tasks if config.ray.address else os.cpu_count() or 1), tasks),
        )
        return
    from megatron_redone.curation.local_executor import run_local

    run_local(passes, work, min(config.workers or os.cpu_count() or 1, tasks))


def _submit(config: CurateConfig, passes: "list[Pass]", work: Path, finished: Finished | None) -> None:
    from megatron_redone.curation.outputs import remove_curation
    from megatron_redone.curation.slurm_executor import submit_slurm

    if shutil.which("sbatch") is None:
        raise UserError("executor: there is no sbatch on this machine; start from a login node, or take executor=local")
    remove_curation(Path(config.output_dir), finished)
    jobs = submit_slurm(passes, work, config.slurm, config.workers)
    write_json(work / _SUBMITTED, {"jobs": jobs})
    log.info("submitted %d passes; when job %s has ended, %s has the result", len(jobs), jobs[-1], config.output_dir)


def _report(config: CurateConfig) -> None:
    from megatron_redone.curation.outputs import TABLE
    from megatron_redone.curation.thresholds import FILE

    output = Path(config.output_dir)
    if config.mode is Mode.measure:
        log.info("%s: nothing was dropped; measured.txt shows what would be, %s is to be approved", output, FILE)
        return
    print((output / TABLE).read_text(encoding="utf-8"), end="")
    log.info("%s: done; dropped posts lie in %s with their reasons", output, output / "dropped")
