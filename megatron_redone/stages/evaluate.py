"""`redone evaluate`: exported models side by side on held-out texts, preferences and conversations.

Results per example are kept for each model and source, so that a killed run goes on where it was, and a model that
has changed is the only one that is computed again. Metrics, intervals and tables are made from them anew each time.
"""

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from megatron_redone.config.evaluate import EvaluateConfig
from megatron_redone.config.schema import work_hash
from megatron_redone.errors import UserError
from megatron_redone.evaluation.evaluation_file import Parts, evaluation_content, read_complete, write_evaluation
from megatron_redone.evaluation.model_loading import LocatedModel, identify, load, locate
from megatron_redone.evaluation.printed_tables import to_markdown, to_terminal
from megatron_redone.evaluation.response_journal import ResponseJournal
from megatron_redone.evaluation.results import Part, ResultFolder
from megatron_redone.evaluation.tables import reading_note
from megatron_redone.evaluation.task_definitions import Task, build_tasks
from megatron_redone.formats.atomic import write_text
from megatron_redone.formats.lock import folder_lock
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance
from megatron_redone.generation.placement import Placement, choose_placement
from megatron_redone.processes.live_progress import LiveProgress

log = logging.getLogger(__name__)


def run(config: EvaluateConfig) -> None:
    """Writes evaluation.json, evaluation.md, invalid.jsonl and `examples/`, and prints the tables.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    place = choose_placement(config.device, config.dtype)
    models = {entry.label: locate(entry) for entry in config.models}
    fingerprints = {label: identify(model) for label, model in models.items()}
    tasks = [*build_tasks(config), *(_benchmarks(config) if config.benchmarks else [])]
    work = work_hash(config, [task.work(one, str(place)) for task in tasks for one in fingerprints.values()])
    with folder_lock(Path(config.output), "output") as output:
        evaluation = read_complete(output, work)
        if evaluation is None:
            results = ResultFolder(output / "examples")
            parts = _evaluate(models, tasks, fingerprints, place, results)
            evaluation = evaluation_content(config, tasks, fingerprints, place, parts, work)
            _write(output, evaluation, tasks, [results.file(model, task) for task in parts for model in parts[task]])
    _print(evaluation)


def _evaluate(
    models: Mapping[str, LocatedModel],
    tasks: list[Task],
    fingerprints: Mapping[str, str],
    place: Placement,
    folder: ResultFolder,
) -> Parts:
    """Results by task and model: read where they are there, else computed; one model is in memory at a time."""
    parts: dict[str, dict[str, Part]] = {task.file_name: {} for task in tasks}
    for label, located in models.items():
        model: LoadedModel | None = None
        for task in tasks:
            work = task.work(fingerprints[label], str(place))
            part = folder.read(label, task.file_name, work)
            if part is None:
                model = model or load(located, place)
                part = _evaluate_part(label, model, task, folder.journal(label, task.file_name, work))
                folder.write(label, task.file_name, work, part)
            else:
                log.info("%s on %s: kept from before", label, task.name)
            parts[task.file_name][label] = part
    return parts


def _benchmarks(config: EvaluateConfig) -> Iterator[Task]:
    """Needs lm_eval, which takes seconds to import."""
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        raise UserError("lm_eval is not installed: `pip install 'megatron_redone[evaluation]'`") from None
    from megatron_redone.evaluation.benchmark_tasks import build_benchmarks

    return build_benchmarks(config)


def _evaluate_part(label: str, model: LoadedModel, task: Task, journal: ResponseJournal) -> Part:
    start = time.monotonic()
    with _progress(f"{label} on {task.name}", len(task.source.examples)) as advance:
        if task.benchmark is None:
            results = task.evaluate(model, advance)
        else:
            results = task.benchmark.evaluate(model, advance, journal)
    seconds = time.monotonic() - start
    log.info("%s on %s: %s examples in %.1f s", label, task.name, f"{len(results):,}", seconds)
    shortened = sum(bool(result.get("shortened")) for result in results)
    if shortened:
        log.warning("%s on %s: %d examples were longer than max_tokens and shortened", label, task.name, shortened)
    return Part(results, seconds)


@contextmanager
def _progress(title: str, examples: int) -> Iterator[Advance]:
    """Shows how far a model is with a source; rows count, of which a long text has several."""
    state = [0, examples]

    def advance(done: int, total: int) -> None:
        state[:] = done, total

    with LiveProgress(1.0, lambda: (state[0] / max(1, state[1]), f"{state[0]:,} of {state[1]:,}"), title):
        yield advance


def _write(output: Path, evaluation: dict[str, Any], tasks: Sequence[Task], results: Sequence[Path]) -> None:
    invalid, tables = output / "invalid.jsonl", output / "evaluation.md"
    _write_invalid(invalid, tasks)
    write_text(tables, "# Evaluation\n\n" + to_markdown(evaluation))
    write_evaluation(output, evaluation, [invalid, tables, *results])


def _write_invalid(file: Path, tasks: Sequence[Task]) -> None:
    """Writes invalid records with their reasons, and logs how many there are."""
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


def _print(evaluation: Mapping[str, Any]) -> None:
    console = Console()
    for part in to_terminal(evaluation):
        console.print(part, highlight=False)
    console.print(reading_note(evaluation), style="dim", highlight=False)
