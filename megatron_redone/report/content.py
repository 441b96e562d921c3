"""Gathers what a report shows; what is missing becomes a note."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.config.report import ReportConfig
from megatron_redone.errors import UserError
from megatron_redone.evaluation.tables import sections
from megatron_redone.report.funnel_view import SourceFunnel, read_funnel
from megatron_redone.report.mixture_view import mixture_view
from megatron_redone.report.packed_sources import PackedSource, packed_sources
from megatron_redone.report.run_history import RunHistory, read_run
from megatron_redone.versions import installed_versions

_PACKAGES = ("torch", "megatron-core", "transformer-engine", "transformers", "datatrove", "tokenizers", "numpy")


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything on the page.

    Attributes:
        title: The heading.
        runs: Training runs that have figures.
        funnels: Of the curation; empty without one.
        evaluation: The content of evaluation.json; None without one.
        packing: Of fine-tuning runs.
        versions: Of what is installed where the report is written.
        notes: What was left out, and why.
        mixture: The content of mixture.json; None without one.
    """

    title: str
    runs: list[RunHistory]
    funnels: list[SourceFunnel]
    evaluation: Mapping[str, Any] | None
    packing: list[PackedSource]
    versions: dict[str, str]
    notes: list[str]
    mixture: Mapping[str, Any] | None = None


def gather(config: ReportConfig) -> ReportContent:
    """Reads all that a configuration names, as far as it is there."""
    notes: list[str] = []
    runs = list(_runs(config.runs, notes))
    return ReportContent(
        title=config.title,
        runs=runs,
        funnels=_funnels(config.funnel, notes),
        evaluation=_evaluation(config.evaluation, notes),
        packing=[source for run in runs for source in _packing(run, notes)],
        versions=installed_versions(*_PACKAGES),
        notes=notes,
        mixture=_mixture(config.mixture, notes),
    )


def _runs(paths: Sequence[str], notes: list[str]) -> Iterator[RunHistory]:
    if not paths:
        notes.append("Training: no run was named.")
    for path, label in zip(paths, short_names(paths), strict=True):
        try:
            run = read_run(Path(path), label)
        except OSError as error:
            notes.append(f"Training run {path}: metrics.jsonl cannot be read ({error.strerror}).")
            continue
        if run.train or run.validation:
            yield run
        else:
            notes.append(f"Training run {path}: metrics.jsonl holds no figures yet.")


def short_names(paths: Sequence[str]) -> list[str]:
    """The last part of each path, and as much before it as it takes to tell them apart."""
    parts = [Path(path).parts for path in paths]
    names = []
    for own in parts:
        length = next(n for n in range(1, len(own) + 1) if n == len(own) or sum(p[-n:] == own[-n:] for p in parts) == 1)
        names.append("/".join(own[-length:]))
    return names


def _funnels(path: str | None, notes: list[str]) -> list[SourceFunnel]:
    content = _read_json(path, "funnel.json", "Curation", notes)
    if content is None:
        return []
    try:
        return read_funnel(content)
    except (KeyError, TypeError):
        notes.append(f"Curation: {path} is no funnel of `redone curate`.")
        return []


def _evaluation(path: str | None, notes: list[str]) -> Mapping[str, Any] | None:
    content = _read_json(path, "evaluation.json", "Evaluation", notes)
    if content is None:
        return None
    try:
        sections(content)
    except (KeyError, TypeError):
        notes.append(f"Evaluation: {path} is no result of `redone evaluate`.")
        return None
    return content


def _mixture(path: str | None, notes: list[str]) -> Mapping[str, Any] | None:
    if path is None:
        return None
    content = _read_json(path, "mixture.json", "Mixture", notes)
    if content is None:
        return None
    try:
        mixture_view(content)
    except (KeyError, TypeError):
        notes.append(f"Mixture: {path} is no result of `redone optimize-mixture`.")
        return None
    return content


def _read_json(path: str | None, name: str, part: str, notes: list[str]) -> Any:
    if path is None:
        notes.append(f"{part}: no {name} was named.")
        return None
    file = Path(path) / name if Path(path).is_dir() else Path(path)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        notes.append(f"{part}: {file} cannot be read ({error.strerror}).")
    except ValueError:
        notes.append(f"{part}: {file} is not readable as JSON.")
    return None


def _packing(run: RunHistory, notes: list[str]) -> list[PackedSource]:
    try:
        return list(packed_sources(run))
    except UserError as error:
        notes.append(f"Packing of {run.name}: {error}.")
        return []
