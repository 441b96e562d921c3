"""What the page draws, made from what was gathered: headline figures, charts of runs, intervals, bars."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_redone.evaluation.metric_definitions import BITS_PER_BYTE
from megatron_redone.evaluation.tables import Cell, Row, model_names, sections
from megatron_redone.metrics.progress import duration, scaled
from megatron_redone.report.charts import Chart, Line, draw_chart, smoothed
from megatron_redone.report.content import ReportContent
from megatron_redone.report.funnel_view import SourceFunnel
from megatron_redone.report.run_history import RunHistory, Series

COLOURS = 6  # of the page's palette; the first is that of training
_NOISY = 30  # points of a loss from which on its mean is drawn over it
# Figures of preference optimisation, by the title of the chart that shows them.
_PREFERENCES = {
    "Preference accuracy": ["accuracy"],
    "Reward margin": ["margin"],
    "Rewards": ["reward_chosen", "reward_rejected"],
    "KL from the reference": ["kl_estimate"],
}


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A headline figure.

    Attributes:
        label: What it is about.
        value: The figure as text.
        caption: What is counted.
        bounds: The interval around it; empty where there is none.
        change: Against the base model; empty where there is none to compare with.
        improved: As in `Cell`.
        note: Behind the change.
    """

    label: str
    value: str
    caption: str
    bounds: str = ""
    change: str = ""
    improved: bool | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A model's interval in a row's picture: places in percent from the left."""

    colour: int
    low: float
    value: float
    high: float


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run: facts as pairs of name and value, the chart of its losses, those beside it, and those of preferences."""

    run: RunHistory
    facts: list[tuple[str, str]]
    losses: Chart | None
    beside: list[Chart]
    preferences: list[Chart]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A step of a funnel: what is left and what went, in percent of what entered the first step."""

    left: float
    gone: float


def tiles(content: ReportContent) -> list[Tile]:
    """The figures that stand at the top."""
    found = list(_evaluation_tiles(content.evaluation)) if content.evaluation is not None else []
    if content.runs:
        found.append(_training_tile(content.runs))
    if content.funnels:
        found.append(_curation_tile(content.funnels[0]))
    return found


def _evaluation_tiles(evaluation: Mapping[str, Any]) -> Iterator[Tile]:
    """The last model on the mean, else the first row, of each section."""
    names, base = model_names(evaluation), evaluation["base"]
    for section in sections(evaluation):
        row = next((row for row in section.rows if row.is_mean), section.rows[0])
        last, before = row.cells[-1], row.cells[names.index(base)]
        metric = row.detail.split(", ")[-1] or BITS_PER_BYTE.title
        yield Tile(
            label=section.title,
            value=last.value,
            caption=f"{metric}, {row.title}",
            bounds=last.bounds,
            change=last.change,
            improved=last.improved,
            note=f"from {before.value}, {last.p_value}" if last.change else names[-1],
        )


def _training_tile(runs: Sequence[RunHistory]) -> Tile:
    tokens = sum(run.tokens or 0 for run in runs)
    seconds = sum(run.seconds or 0 for run in runs)
    stages = f"{len(runs)} stage{'s' if len(runs) > 1 else ''}"
    return Tile(label="Trained on", value=scaled(tokens), caption="tokens", note=f"{stages}, {duration(seconds)}")


def _curation_tile(funnel: SourceFunnel) -> Tile:
    left = funnel.left.documents
    kept = f"{100 * left / max(1, funnel.entered):.1f} %"
    return Tile(label="Curation kept", value=kept, caption="of the documents", note=f"{left:,} of {funnel.entered:,}")


def lanes(row: Row) -> list[Lane]:
    """The intervals of a row's models on one scale."""
    low, high = min(cell.low for cell in row.cells), max(cell.high for cell in row.cells)
    margin = 0.06 * (high - low) or 0.5

    def place(value: float) -> float:
        return 100 * (value - low + margin) / (high - low + 2 * margin)

    return [_lane(number, cell, place) for number, cell in enumerate(row.cells)]


def _lane(number: int, cell: Cell, place: Any) -> Lane:
    return Lane(colour=number % COLOURS, low=place(cell.low), value=place(cell.number), high=place(cell.high))


def run_view(run: RunHistory) -> RunView:
    """The charts of a run."""
    beside = {"Learning rate": "learning_rate", "Tokens per second": "tokens_per_second"}
    return RunView(
        run=run,
        facts=list(_facts(run)),
        losses=_loss_chart(run),
        beside=[_single(title, run.train[name]) for title, name in beside.items() if name in run.train],
        preferences=[
            _preference_chart(run, title, names)
            for title, names in _PREFERENCES.items()
            if all(name in run.train for name in names)
        ],
    )


def _facts(run: RunHistory) -> Iterator[tuple[str, str]]:
    yield "steps", f"{run.steps:,}"
    if run.tokens is not None:
        yield "tokens", scaled(run.tokens)
    if run.seconds is not None:
        yield "time in steps", duration(run.seconds)
    if "tokens_per_second" in run.train:
        yield "tokens/s (median)", scaled(statistics.median(run.train["tokens_per_second"].values))
    if "mfu" in run.train:
        yield "MFU (median)", f"{100 * statistics.median(run.train['mfu'].values):.1f} %"
    if "loss" in run.train:
        yield "training loss", f"{run.train['loss'].first:.3f} → {smoothed(run.train['loss']).last:.3f}"
    for source, figures in run.validation.items():
        if "loss" in figures:
            yield f"{source} validation loss", f"{figures['loss'].first:.3f} → {figures['loss'].last:.3f}"
        if "accuracy" in figures:
            yield f"{source} accuracy", f"{100 * figures['accuracy'].last:.1f} %"


def _loss_chart(run: RunHistory) -> Chart | None:
    validation = {source: figures["loss"] for source, figures in run.validation.items() if "loss" in figures}
    lines: list[Line] = []
    if "loss" in run.train:
        lines += _training_lines(run.train["loss"])
    for number, (source, series) in enumerate(validation.items(), 1):
        lines.append(Line(label=f"validation: {source}", colour=_validation_colour(number), series=series, dots=True))
    if not lines:
        return None
    return draw_chart("Loss", lines)


def _training_lines(loss: Series) -> list[Line]:
    if len(loss.values) < _NOISY:
        return [Line(label="training", colour=0, series=loss)]
    return [
        Line(label=None, colour=0, series=loss, faint=True),
        Line(label="training", colour=0, series=smoothed(loss)),
    ]


def _validation_colour(number: int) -> int:
    return 1 + (number - 1) % (COLOURS - 1)


def _single(title: str, series: Series) -> Chart:
    return draw_chart(title, [Line(label=title.lower(), colour=0, series=series)], from_zero=True)


def _preference_chart(run: RunHistory, title: str, names: Sequence[str]) -> Chart:
    """One figure of training beside the same of every validation source, or several of training."""
    if len(names) > 1:
        labels = [name.split("_")[-1] for name in names]
        series = [smoothed(run.train[name]) for name in names]
        lines = [
            Line(label=label, colour=i, series=one) for i, (label, one) in enumerate(zip(labels, series, strict=True))
        ]
        return draw_chart(title, lines)
    lines = _training_lines(run.train[names[0]])
    for number, (source, figures) in enumerate(run.validation.items(), 1):
        if names[0] in figures:
            colour = _validation_colour(number)
            series = _after_the_start(figures[names[0]])
            lines.append(Line(label=f"validation: {source}", colour=colour, series=series, dots=True))
    return draw_chart(title, lines)


def _after_the_start(series: Series) -> Series:
    """Without step 0, where policy and reference are one model: every pair is a tie, and none is right."""
    if len(series.steps) < 2 or series.steps[0] > 0:
        return series
    return Series(steps=series.steps[1:], values=series.values[1:])


def bars(funnel: SourceFunnel) -> list[Bar]:
    """How wide each step's bar is."""
    whole = max(1, funnel.entered)
    before = [funnel.entered, *(step.documents for step in funnel.steps)]
    return [
        Bar(left=100 * step.documents / whole, gone=100 * max(0, was - step.documents) / whole)
        for was, step in zip(before, funnel.steps, strict=False)
    ]
