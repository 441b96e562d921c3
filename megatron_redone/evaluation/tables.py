"""evaluation.json as tables: models side by side, for Markdown, for the terminal and for the report's page."""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from megatron_redone.evaluation.metric_definitions import BITS_PER_BYTE, METRICS, Kind, Metric

MINUS = "−"
# What begins a link, an image, code or a column; a name with underscores stays as it is.
_MARKDOWN = re.compile(r"[\\`\[\]|]")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A model's value of a metric as text.

    Attributes:
        number: The value itself.
        low: The lower bound of the interval around it.
        high: The upper one.
        value: It as text, such as `1.234` or `56.7 %`.
        bounds: The interval as text, `1.20 – 1.27`.
        change: What it is more than the base model's, `+0.031`; empty for the base model.
        change_bounds: The interval around that.
        improved: Whether the change is for the better; None where its interval holds zero, and for the base model.
    """

    number: float
    low: float
    high: float
    value: str
    bounds: str
    change: str = ""
    change_bounds: str = ""
    improved: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A metric of all models.

    Attributes:
        title: The source.
        detail: Which metric of it, where a section has several.
        examples: How many it is taken over.
        cells: One a model.
        is_mean: Whether it is the mean over the section's other rows.
    """

    title: str
    detail: str
    examples: int
    cells: list[Cell]
    is_mean: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows that belong together. `hint` says what they show, and which direction is better."""

    title: str
    hint: str
    rows: list[Row]


def model_names(evaluation: Mapping[str, Any]) -> list[str]:
    """The columns."""
    return [model["name"] for model in evaluation["models"]]


def sections(evaluation: Mapping[str, Any]) -> list[Section]:
    """The tables of an evaluation.json."""
    entries = evaluation["metrics"]
    found = [_held_out(entries, side) for side in ("social", "general")]
    found.append(
        Section(
            title="Preferences",
            hint="fraction of pairs whose chosen response is the likelier one; higher is better",
            rows=[_row(group) for group in _by_row(entries, Kind.preferences)],
        )
    )
    found.append(
        Section(
            title="Answers",
            hint="greedy answers against the expected ones; higher is better",
            rows=[_row(group) for group in _by_row(entries, Kind.conversations)],
        )
    )
    return [section for section in found if section.rows]


def _held_out(entries: Sequence[Mapping[str, Any]], side: str) -> Section:
    groups = [group for group in _by_row(entries, Kind.held_out) if group[0]["side"] == side]
    if len(groups) == 2:  # one source and its own mean
        groups.pop()
    rows = [_row(group, mean_of=len(groups) - 1) for group in groups]
    return Section(title=f"{side.capitalize()} text", hint="bits per byte of held-out text; lower is better", rows=rows)


def _by_row(entries: Sequence[Mapping[str, Any]], kind: Kind) -> list[list[Mapping[str, Any]]]:
    """Values that differ in the model alone."""
    rows: dict[Any, list[Mapping[str, Any]]] = {}
    for entry in entries:
        if entry["kind"] == kind.name:
            rows.setdefault((entry["side"], entry["source"], entry["metric"]), []).append(entry)
    return list(rows.values())


def _row(group: Sequence[Mapping[str, Any]], mean_of: int = 0) -> Row:
    first = group[0]
    return Row(
        title=first["source"] or f"mean of {mean_of} sources",
        detail=_detail(first),
        examples=first["examples"],
        cells=[_cell(entry) for entry in group],
        is_mean=first["source"] is None,
    )


def _detail(entry: Mapping[str, Any]) -> str:
    metric = METRICS[entry["metric"]]
    if metric is BITS_PER_BYTE:
        return ""
    capability = [entry["side"].replace("_", " ")] if entry["side"] else []
    return ", ".join([*capability, metric.title])


def _cell(entry: Mapping[str, Any]) -> Cell:
    metric = METRICS[entry["metric"]]
    cell = Cell(
        number=entry["value"],
        low=entry["low"],
        high=entry["high"],
        value=format_value(metric, entry["value"]),
        bounds=f"{_bare(metric, entry['low'])} – {_bare(metric, entry['high'])}",
    )
    if "difference" not in entry:
        return cell
    low, high = entry["difference_low"], entry["difference_high"]
    return replace(
        cell,
        change=_signed(metric, entry["difference"]),
        change_bounds=f"{_signed(metric, low)} – {_signed(metric, high)}",
        improved=None if low <= 0 <= high else (entry["difference"] > 0) == metric.higher_is_better,
    )


def format_value(metric: Metric, value: float) -> str:
    """A value with its unit."""
    return _bare(metric, value) if metric is BITS_PER_BYTE else f"{_bare(metric, value)} %"


def _bare(metric: Metric, value: float) -> str:
    return f"{value:.3f}" if metric is BITS_PER_BYTE else f"{100 * value:.1f}"


def _signed(metric: Metric, value: float) -> str:
    text = _bare(metric, abs(value))
    return text if not float(text) else ("+" if value > 0 else MINUS) + text


def to_markdown(evaluation: Mapping[str, Any]) -> str:
    """The tables in Markdown, with a note on how to read them."""
    lines = []
    names = model_names(evaluation)
    for section in sections(evaluation):
        lines += [f"## {section.title}", "", f"{section.hint[0].upper()}{section.hint[1:]}.", ""]
        lines += [
            f"| | examples | {' | '.join(map(plain_markdown, names))} |",
            "| --- | ---: |" + " ---: |" * len(names),
        ]
        lines += [f"| {_markdown_title(row)} | {row.examples:,} | {' | '.join(map(_markdown_cell, row.cells))} |"
                  for row in section.rows]  # fmt: skip
        lines.append("")
    return "\n".join([*lines, plain_markdown(reading_note(evaluation))]) + "\n"


def _markdown_title(row: Row) -> str:
    return plain_markdown(f"{row.title} ({row.detail})" if row.detail else row.title)


def plain_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table too: no element, no link, no further column."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(html.escape(text, quote=False).split()))


def _markdown_cell(cell: Cell) -> str:
    text = f"{cell.value} ({cell.bounds})"
    if not cell.change:
        return text
    change = f"{cell.change} ({cell.change_bounds})"
    return f"{text}<br>{f'**{change}**' if cell.improved is not None else change}"


def reading_note(evaluation: Mapping[str, Any]) -> str:
    """What ranges and differences are."""
    bootstrap = evaluation["config"]["bootstrap"]
    return (
        f"Ranges are {100 * bootstrap['confidence']:g} % bootstrap intervals over examples "
        f"({bootstrap['resamples']:,} resamples); one of no width says no more than that all examples gave the same. "
        f"Signed numbers are differences from {evaluation['base']} on the same examples, stressed where their range "
        "leaves out zero."
    )


def to_terminal(evaluation: Mapping[str, Any]) -> Iterator[Any]:
    """The tables for rich's console."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    for section in sections(evaluation):
        yield f"\n[bold]{section.title}[/bold]: {section.hint}"
        table = Table(box=SIMPLE_HEAD, padding=(0, 1))
        table.add_column("")
        table.add_column("examples", justify="right")
        for name in model_names(evaluation):
            table.add_column(escape(name), justify="right")
        for row in section.rows:
            cells = [_terminal_cell(cell) for cell in row.cells]
            title = f"{escape(row.title)}\n[dim]{escape(row.detail)}[/dim]" if row.detail else escape(row.title)
            table.add_row(title, f"{row.examples:,}", *cells, style="italic" if row.is_mean else None)
        yield table


def _terminal_cell(cell: Cell) -> str:
    text = f"[bold]{cell.value}[/bold]  [dim]{cell.bounds}[/dim]"
    if not cell.change:
        return text
    colour = {True: "green", False: "red", None: "dim"}[cell.improved]
    return f"{text}\n[{colour}]{cell.change}  {cell.change_bounds}[/{colour}]"
