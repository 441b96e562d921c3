"""The report as Markdown and as JSON."""

import dataclasses
import statistics
from collections.abc import Iterator
from typing import Any

from megatron_redone.evaluation.printed_tables import plain_markdown, to_markdown
from megatron_redone.metrics.progress import duration, scaled
from megatron_redone.mixture.search_files import markdown as mixture_markdown
from megatron_redone.report.charts import smoothed
from megatron_redone.report.content import ReportContent
from megatron_redone.report.funnel_view import SourceFunnel
from megatron_redone.report.run_history import RunHistory

FORMAT = "megatron_redone.report/1"


def report_json(content: ReportContent, written: str) -> dict[str, Any]:
    """What the page shows, as numbers: of runs their first and last values rather than their curves.

    The last training loss is the mean over the last steps; one step alone is noise.
    """
    return {
        "format": FORMAT,
        "title": content.title,
        "written": written,
        "runs": [_run_record(run) for run in content.runs],
        "evaluation": None if content.evaluation is None else content.evaluation["metrics"],
        "funnel": [dataclasses.asdict(funnel) for funnel in content.funnels],
        "packing": [dataclasses.asdict(source) for source in content.packing],
        "mixture": None if content.mixture is None else {k: content.mixture[k] for k in ("mixture", "table")},
        "versions": content.versions,
        "notes": content.notes,
    }


def _run_record(run: RunHistory) -> dict[str, Any]:
    validation = {
        source: {name: {"first": series.first, "last": series.last} for name, series in metrics.items()}
        for source, metrics in run.validation.items()
    }
    speed = run.train.get("tokens_per_second")
    loss = run.train.get("loss")
    return {
        "name": run.name,
        "path": run.path,
        "kind": run.kind,
        "steps": run.steps,
        "tokens": run.tokens,
        "seconds": run.seconds,
        "tokens_per_second": None if speed is None else statistics.median(speed.values),
        "loss": None if loss is None else {"first": loss.first, "last": smoothed(loss).last},
        "validation": validation,
    }


def report_markdown(content: ReportContent, written: str) -> str:
    """The same as tables."""
    parts = [f"# {plain_markdown(content.title)}", "", written, ""]
    if content.evaluation is not None:
        parts += [to_markdown(content.evaluation)]
    if content.runs:
        parts += ["## Training", "", *_run_table(content.runs), ""]
    if content.mixture is not None:
        parts += ["## Mixture", "", mixture_markdown(content.mixture)]
    for funnel in content.funnels:
        parts += [f"## Curation: {plain_markdown(funnel.source)}", "", *_funnel_table(funnel), ""]
    if content.packing:
        parts += ["## Packing", "", *_packing_table(content), ""]
    parts += ["## Versions", "", ", ".join(f"{name} {version}" for name, version in content.versions.items()), ""]
    if content.notes:
        parts += ["## Left out", "", *(f"- {plain_markdown(note)}" for note in content.notes), ""]
    return "\n".join(parts)


def _run_table(runs: list[RunHistory]) -> Iterator[str]:
    yield "| run | stage | steps | tokens | time in steps | tokens/s | training loss | validation loss |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |"
    for run in runs:
        record = _run_record(run)
        losses = "; ".join(
            f"{plain_markdown(source)} {_arrow(metrics['loss'])}"
            for source, metrics in record["validation"].items()
            if "loss" in metrics
        )
        tokens, seconds, speed, loss = (record[name] for name in ("tokens", "seconds", "tokens_per_second", "loss"))
        yield (
            f"| {plain_markdown(run.name)} | {run.kind} | {run.steps:,} | {'' if tokens is None else scaled(tokens)} "
            f"| {'' if seconds is None else duration(seconds)} | {'' if speed is None else scaled(speed)} "
            f"| {'' if loss is None else _arrow(loss)} | {losses} |"
        )


def _arrow(series: dict[str, float]) -> str:
    return f"{series['first']:.3f} → {series['last']:.3f}"


def _funnel_table(funnel: SourceFunnel) -> Iterator[str]:
    yield "| step | documents | dropped | held out | characters | reasons |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for step in funnel.steps:
        reasons = "; ".join(f"{plain_markdown(reason)} {number:,}" for reason, number in list(step.reasons.items())[:3])
        yield (
            f"| {plain_markdown(step.step)} | {step.documents:,} | {step.dropped:,} | {step.held_out:,} "
            f"| {step.characters:,} | {reasons} |"
        )


def _packing_table(content: ReportContent) -> Iterator[str]:
    yield "| run | source | conversations | rows | full | one a row | cut | left out |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for source in content.packing:
        yield (
            f"| {plain_markdown(source.run)} | {plain_markdown(source.source)} "
            f"| {source.conversations:,} | {source.rows:,} "
            f"| {100 * source.efficiency:.1f} % | {100 * source.unpacked:.1f} % "
            f"| {source.truncated:,} | {source.dropped:,} |"
        )
