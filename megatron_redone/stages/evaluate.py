"""`redone evaluate`: exported models side by side on held-out texts, preferences and conversations.

Results per example are kept for each model and source, so that a killed run goes on where it was, and a model that
has changed is the only one that is computed again. Figures, intervals and tables are made from them anew each time.
"""

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from megatron_redone.config.evaluate import EvaluateConfig
from megatron_redone.config.schema import plain, work_hash
from megatron_redone.errors import UserError
from megatron_redone.evaluation.comparison import EvaluatedSource, compute_metrics
from megatron_redone.evaluation.results import Part, ResultFolder
from megatron_redone.evaluation.tables import reading_note, to_markdown, to_terminal
from megatron_redone.evaluation.tasks import Task, build_tasks
from megatron_redone.formats.atomic import write_json, write_text
from megatron_redone.generation.hf_model import LoadedModel, load_model
from megatron_redone.generation.model_files import model_fingerprint
from megatron_redone.generation.placement import Placement, choose_placement
from megatron_redone.versions import installed_versions

log = logging.getLogger(__name__)

FORMAT = "megatron_redone.evaluation/2"


def run(config: EvaluateConfig) -> None:
    """Writes evaluation.json, evaluation.md and `examples/` into the output folder, and prints the tables.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    place = choose_placement(config.device, config.dtype)
    prints = {entry.label: model_fingerprint(entry.path, entry.chat_template) for entry in config.models}
    tasks = list(build_tasks(config))
    output = _make_folder(Path(config.output))
    work = _work(config, tasks, prints, place)
    evaluation = _read_finished(output, work)
    if evaluation is not None:
        log.info("%s: complete already, nothing to do", output)
    else:
        _keep_invalid(output, tasks)
        parts = _evaluate(config, tasks, prints, place, ResultFolder(output / "examples"))
        evaluation = _evaluation(config, tasks, prints, place, parts, work)
        write_text(output / "evaluation.md", "# Evaluation\n\n" + to_markdown(evaluation))
        write_json(output / "evaluation.json", evaluation)
    _print(evaluation)


def _make_folder(output: Path) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output: {output} cannot be written to ({error.strerror})") from None
    return output


def _work(config: EvaluateConfig, tasks: list[Task], prints: Mapping[str, str], place: Placement) -> str:
    """Sixteen hexadecimal digits over configuration, inputs and models."""
    parts = [task.work(print_, str(place)) for task in tasks for print_ in prints.values()]
    return work_hash(config, parts)


def _read_finished(output: Path, work: str) -> dict[str, Any] | None:
    try:
        evaluation = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return evaluation if evaluation.get("work") == work else None


def _keep_invalid(output: Path, tasks: list[Task]) -> None:
    """Writes invalid records with their reasons, and tells how many there are."""
    file = output / "invalid.jsonl"
    lines = [
        orjson.dumps({"source": task.name, **dataclasses.asdict(record)}).decode()
        for task in tasks
        for record in task.source.invalid
    ]
    write_text(file, "".join(line + "\n" for line in lines))
    for task in tasks:
        if task.source.invalid:
            counts = f"{len(task.source.invalid):,} of {task.source.records:,}"
            log.warning("%s: %s records are invalid, listed in %s", task.name, counts, file)


def _evaluate(
    config: EvaluateConfig, tasks: list[Task], prints: Mapping[str, str], place: Placement, folder: ResultFolder
) -> dict[str, dict[str, Part]]:
    """Results by task and model: read where they are there, else computed; one model is in memory at a time."""
    parts: dict[str, dict[str, Part]] = {task.file_name: {} for task in tasks}
    for entry in config.models:
        model: LoadedModel | None = None
        for task in tasks:
            work = task.work(prints[entry.label], str(place))
            part = folder.read(entry.label, task.file_name, work)
            if part is None:
                model = model or load_model(entry.path, place, entry.chat_template)
                part = _evaluate_part(entry.label, model, task)
                folder.write(entry.label, task.file_name, work, part)
            else:
                log.info("%s on %s: kept from before", entry.label, task.name)
            parts[task.file_name][entry.label] = part
    return parts


def _evaluate_part(label: str, model: LoadedModel, task: Task) -> Part:
    start = time.monotonic()
    total = len(task.source.examples)
    with Progress(
        TextColumn(f"{label} on {task.name}"),
        BarColumn(30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as progress:
        shown = progress.add_task("", total=None)
        results = task.evaluate(model, lambda done, of: progress.update(shown, completed=done, total=of))
    seconds = time.monotonic() - start
    log.info("%s on %s: %s examples in %.1f s", label, task.name, f"{total:,}", seconds)
    shortened = sum(bool(result.get("shortened")) for result in results)
    if shortened:
        log.warning("%s on %s: %d examples were longer than max_tokens and shortened", label, task.name, shortened)
    return Part(results, seconds)


def _evaluation(
    config: EvaluateConfig,
    tasks: list[Task],
    prints: Mapping[str, str],
    place: Placement,
    parts: Mapping[str, Mapping[str, Part]],
    work: str,
) -> dict[str, Any]:
    measured = [
        EvaluatedSource(
            kind=task.kind,
            name=task.name,
            side=task.side,
            results={model: part.results for model, part in parts[task.file_name].items()},
        )
        for task in tasks
    ]
    metrics = compute_metrics(measured, config.base_label, config.bootstrap)
    return {
        "format": FORMAT,
        "work": work,
        "base": config.base_label,
        "models": [
            {"name": entry.label, "path": entry.path, "fingerprint": prints[entry.label]} for entry in config.models
        ],
        "sources": [_source_record(task, parts[task.file_name]) for task in tasks],
        "metrics": [value.as_record() for value in metrics],
        "place": str(place),
        "versions": installed_versions("torch", "transformers"),
        "config": plain(config),
    }


def _source_record(task: Task, parts: Mapping[str, Part]) -> dict[str, Any]:
    reasons: dict[str, int] = {}
    for record in task.source.invalid:
        reasons[record.reason] = reasons.get(record.reason, 0) + 1
    return {
        "kind": task.kind.name,
        "name": task.name,
        "side": task.side,
        "records": task.source.records,
        "examples": len(task.source.examples),
        "invalid": reasons,
        "seconds": {model: round(part.seconds, 3) for model, part in parts.items()},
    }


def _print(evaluation: Mapping[str, Any]) -> None:
    console = Console()
    for part in to_terminal(evaluation):
        console.print(part, highlight=False)
    console.print(reading_note(evaluation), style="dim", highlight=False)
