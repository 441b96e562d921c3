"""The tables of an evaluation in Markdown and on the terminal."""

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from megatron_redone.evaluation.tables import Cell, Row, model_names, reading_note, sections

# What begins a link, an image, code or a column; a name with underscores stays as it is.
_MARKDOWN = re.compile(r"[\\`\[\]|]")


def to_markdown(evaluation: Mapping[str, Any]) -> str:
    """The tables in Markdown, with a note on how to read them."""
    lines = []
    names = model_names(evaluation)
    several = len(names) > 1
    for section in sections(evaluation):
        lines += [f"## {section.title}", "", f"{section.hint[0].upper()}{section.hint[1:]}.", ""]
        rules = any(row.without_model for row in section.rows)
        further = " least difference |" * several + " without a model |" * rules
        lines += [
            f"| | examples | {' | '.join(map(plain_markdown, names))} |{further}",
            "| --- | ---: |" + " ---: |" * (len(names) + several + rules),
        ]
        for row in section.rows:
            cells = [*map(_markdown_cell, row.cells), *[row.least_difference or "–"] * several]
            cells += [plain_markdown(row.without_model) or "–"] * rules
            lines.append(f"| {_markdown_title(row)} | {row.examples:,} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join([*lines, plain_markdown(reading_note(evaluation))]) + "\n"


def _markdown_title(row: Row) -> str:
    return plain_markdown(f"{row.title} ({row.detail})" if row.detail else row.title)


def plain_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table too: no element, no link, no further column."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(html.escape(text, quote=False).split()))


def _markdown_cell(cell: Cell) -> str:
    text = f"{cell.value} ({cell.bounds})" + (f"<br>{cell.note}" if cell.note else "")
    if not cell.change:
        return text
    change = f"{cell.change} ({cell.change_bounds})"
    return f"{text}<br>{f'**{change}**' if cell.improved is not None else change}, {cell.p_value}"


def to_terminal(evaluation: Mapping[str, Any]) -> Iterator[Any]:
    """The tables for rich's console."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    several = len(evaluation["models"]) > 1
    for section in sections(evaluation):
        yield f"\n[bold]{section.title}[/bold]: {section.hint}"
        table = Table(box=SIMPLE_HEAD, padding=(0, 1))
        table.add_column("")
        table.add_column("examples", justify="right")
        for name in model_names(evaluation):
            table.add_column(escape(name), justify="right")
        if several:
            table.add_column("least difference", justify="right")
        rules = any(row.without_model for row in section.rows)
        if rules:
            table.add_column("without a model", justify="right")
        for row in section.rows:
            cells = [*map(_terminal_cell, row.cells), *[row.least_difference or "–"] * several]
            cells += [escape(row.without_model.replace(", ", "\n")) or "–"] * rules
            title = f"{escape(row.title)}\n[dim]{escape(row.detail)}[/dim]" if row.detail else escape(row.title)
            table.add_row(title, f"{row.examples:,}", *cells, style="italic" if row.is_mean else None)
        yield table


def _terminal_cell(cell: Cell) -> str:
    text = f"[bold]{cell.value}[/bold]  [dim]{cell.bounds}[/dim]" + (f"\n[dim]{cell.note}[/dim]" if cell.note else "")
    if not cell.change:
        return text
    colour = {True: "green", False: "red", None: "dim"}[cell.improved]
    return f"{text}\n[{colour}]{cell.change}  {cell.change_bounds}  {cell.p_value}[/{colour}]"
