"""evaluation.json: what it holds, and whether it is there already, with the files beside it as they were written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_redone.config.evaluate import EvaluateConfig
from megatron_redone.config.schema import plain
from megatron_redone.evaluation.comparison import EvaluatedSource, compute_metrics, estimate_rows
from megatron_redone.evaluation.folded_rows import fold_benchmarks
from megatron_redone.evaluation.metric_definitions import Kind
from megatron_redone.evaluation.perturbed_rows import lost_rows
from megatron_redone.evaluation.results import Part
from megatron_redone.evaluation.significance import compare_models
from megatron_redone.evaluation.task_definitions import Task
from megatron_redone.formats.done_check import Finished, is_complete, read_sealed, write_sealed
from megatron_redone.formats.file_record import record_files
from megatron_redone.generation.placement import Placement
from megatron_redone.versions import installed_versions

FORMAT = "megatron_redone.evaluation/3"
_NAME = "evaluation.json"

Parts = Mapping[str, Mapping[str, Part]]
"""Results by task (`Task.file_name`) and model."""


def read_complete(output: Path, work: str) -> dict[str, Any] | None:
    """The evaluation in a folder, where it is complete and made from the same things; another is replaced unasked."""
    content, is_intact = read_sealed(output / _NAME)
    if content is None or (content.get("format"), content.get("work")) != (FORMAT, work):
        return None
    files = {output / name: record for name, record in content.get("files", {}).items()}
    finished = Finished(work, files, output / _NAME, is_intact)
    return content if is_complete(finished, work, overwrite=False, place=str(output)) else None


def write_evaluation(output: Path, content: dict[str, Any], files: Sequence[Path]) -> None:
    """Writes evaluation.json, with the records of the files that belong to it, which are written before."""
    write_sealed(output / _NAME, {"format": FORMAT, **content, "files": record_files(output, files)})


def evaluation_content(
    config: EvaluateConfig,
    tasks: Sequence[Task],
    fingerprints: Mapping[str, str],
    place: Placement,
    parts: Parts,
    work: str,
) -> dict[str, Any]:
    """Metrics with their intervals, and all that they were made from.

    Args:
        config: Of the evaluation.
        tasks: What was evaluated on.
        fingerprints: Of every model, by its label.
        place: Where it was computed.
        parts: The results.
        work: Hash of everything that decides them.
    """
    sources = [
        EvaluatedSource(
            kind=task.kind,
            name=task.name,
            side=task.side,
            results={model: part.results for model, part in parts[task.file_name].items()},
            **_of_benchmark(task, parts[task.file_name]),
        )
        for task in tasks
    ]
    rows = estimate_rows(sources, config.bootstrap)
    benchmarks = [row for row in rows if row.kind is Kind.benchmarks]
    rows += [*lost_rows(benchmarks), *fold_benchmarks(benchmarks)]
    metrics = compute_metrics(rows, config.base_label, config.bootstrap)
    comparisons = compare_models(rows, config.bootstrap.confidence)
    return {
        "work": work,
        "base": config.base_label,
        "models": [
            {"name": entry.label, "path": entry.path, "fingerprint": fingerprints[entry.label]}
            for entry in config.models
        ],
        "sources": [_source_record(task, parts[task.file_name]) for task in tasks],
        "metrics": [value.as_record() for value in metrics],
        "comparisons": [comparison.as_record() for comparison in comparisons],
        "place": str(place),
        "versions": installed_versions("torch", "transformers", "lm_eval"),
        "config": plain(config),
    }


def _of_benchmark(task: Task, parts: Mapping[str, Part]) -> dict[str, Any]:
    if task.benchmark is None:
        return {}
    first = next(iter(parts.values()))
    return {
        "metrics": task.benchmark.metrics(first.results),
        "path": task.benchmark.path,
        "headlines": task.benchmark.headlines,
        "variant_of": task.benchmark.variant_of,
    }


def _source_record(task: Task, parts: Mapping[str, Part]) -> dict[str, Any]:
    record = {
        "kind": task.kind.name,
        "name": task.name,
        "side": task.side,
        "records": task.source.records,
        "examples": len(task.source.examples),
        "invalid": dict(Counter(record.reason for record in task.source.invalid)),
        "seconds": {model: round(part.seconds, 3) for model, part in parts.items()},
    }
    if task.benchmark is not None:
        record["answers"] = {model: task.benchmark.shares(part.results) for model, part in parts.items()}
        record["without_model"] = task.benchmark.without_model()
    return record
