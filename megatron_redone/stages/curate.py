"""`redone curate`: raw posts and texts to clean, deduplicated documents.

The input is cut into tasks, which datatrove runs here or on Slurm. What is finished leaves a
done-marker in OUTPUT/work, so that a killed run goes on where it was. Which documents survive depends
on the input and the settings alone, not on the number of tasks or processes.
"""

import dataclasses
import fcntl
import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_redone.config.curate import CurateConfig, Executor, SourceConfig
from megatron_redone.config.schema import work_hash
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_json
from megatron_redone.formats.inputs import InputFile, expand_inputs

if TYPE_CHECKING:
    from megatron_redone.curation.executors import Pass

log = logging.getLogger(__name__)

_TASK_BYTES = 64 << 20


def run(config: CurateConfig) -> None:
    """Writes NAME.jsonl for each source, held_out/, dropped/, funnel.json, funnel.txt and manifest.json.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    _require_datatrove()
    from megatron_redone.curation.executors import run_local

    output = Path(config.output_dir)
    files = _input_files(config)
    digest = work_hash(config, [dataclasses.astuple(file) for _, file in files])
    if _is_complete(config, digest):
        shutil.rmtree(output / "work", ignore_errors=True)  # which a job on Slurm leaves
        log.info("%s: complete already, nothing to do", output)
        return
    with _locked(output / "work") as work:
        tasks = _tasks(config, files)
        _open_work(work, f"{digest} {tasks}")
        passes = _passes(config, files, tasks, digest, work)
        if config.executor is Executor.slurm:
            _submit(config, passes, work)
            return
        _remove_previous(config)
        run_local(passes, work, min(config.workers or os.cpu_count() or 1, tasks))
    shutil.rmtree(work)
    _report(output)


def _require_datatrove() -> None:
    missing = [name for name in ("datatrove", "xxhash", "zstandard") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{missing[0]} is missing; curating needs `pip install 'megatron_redone[curation]'`")


def _input_files(config: CurateConfig) -> list[tuple[SourceConfig, InputFile]]:
    """All files in the order of the sources, each with the source that names it."""
    owners: dict[str, str] = {}
    files = []
    output = os.path.abspath(config.output_dir)
    for source in config.sources:
        for file in expand_inputs(source.input):
            if file.path in owners:
                raise UserError(f"{file.path}: named twice, by '{owners[file.path]}' and by '{source.name}'")
            if os.path.commonpath([os.path.abspath(file.path), output]) == output:
                raise UserError(f"output_dir: the input {file.path} lies in it; choose another folder")
            owners[file.path] = source.name
            files.append((source, file))
    return files


def _is_complete(config: CurateConfig, digest: str) -> bool:
    """Whether the result is there already, made from the same things; refuses to replace another."""
    manifest = _manifest(config)
    if manifest is None:
        return False
    if manifest.get("work") == digest:
        return True
    if not config.overwrite:
        raise UserError(
            f"{config.output_dir}: documents made from other input or settings are there; "
            "choose another output_dir, or set overwrite=true"
        )
    return False


def _manifest(config: CurateConfig) -> dict[str, Any] | None:
    from megatron_redone.curation.outputs import FORMAT, MANIFEST

    path = Path(config.output_dir) / MANIFEST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a manifest of this version ({FORMAT}); choose another output_dir")
    return content


def _remove_previous(config: CurateConfig) -> None:
    """Removes the files of a result that is being replaced, its manifest first."""
    from megatron_redone.curation.outputs import MANIFEST

    manifest = _manifest(config)
    if manifest is None:
        return
    output = Path(config.output_dir)
    (output / MANIFEST).unlink()
    for file in manifest["outputs"]:
        (output / file["path"]).unlink(missing_ok=True)
    shutil.rmtree(output / "dropped", ignore_errors=True)


@contextmanager
def _locked(work: Path) -> Iterator[Path]:
    """Keeps a second run away from the same output; the system lets go when the process ends."""
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {work.parent} cannot be written to ({error.strerror})") from None
    with open(work / "lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{work.parent}: another run is writing there") from None
        yield work


def _tasks(config: CurateConfig, files: list[tuple[SourceConfig, InputFile]]) -> int:
    from megatron_redone.curation.deduplication import MOST_TASKS

    if config.tasks > MOST_TASKS:
        raise UserError(f"tasks: {config.tasks:,} are more than {MOST_TASKS:,}; set a lower number")
    total = sum(file.size for _, file in files)
    if not total:
        raise UserError(f"{files[0][1].path}: the input is empty")
    return config.tasks or min(MOST_TASKS, max(1, -(-total // _TASK_BYTES)))


def _open_work(work: Path, plan: str) -> None:
    """Keeps what an interrupted run of the same plan has done, and removes what any other has left."""
    from megatron_redone.curation.executors import wait_for_tasks

    path = work / "plan.json"
    if path.is_file() and json.loads(path.read_text())["plan"] == plan:
        return
    wait_for_tasks(work)
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()
    write_json(path, {"plan": plan})


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


def _submit(config: CurateConfig, passes: "list[Pass]", work: Path) -> None:
    from megatron_redone.curation.executors import submit_slurm

    marker = work / "submitted.json"
    if marker.is_file():
        job = json.loads(marker.read_text())["last_job"]
        log.info("submitted already, the last job is %s; logs are in %s", job, work / "logs")
        log.info("to submit what is left once more, remove %s", marker)
        return
    if shutil.which("sbatch") is None:
        raise UserError("executor: there is no sbatch on this machine; start from a login node, or take executor=local")
    _remove_previous(config)
    job = submit_slurm(passes, work, config.slurm, config.workers)
    write_json(marker, {"last_job": job})
    log.info("submitted %d passes; when job %s has ended, %s has the result", len(passes), job, config.output_dir)


def _report(output: Path) -> None:
    from megatron_redone.curation.outputs import TABLE

    print((output / TABLE).read_text(encoding="utf-8"), end="")
    log.info("%s: done; dropped posts lie in %s with their reasons", output, output / "dropped")
