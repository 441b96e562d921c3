"""The tables of an evaluation in Markdown and on the terminal."""

import io

import pytest

from megatron_redone.evaluation.printed_tables import plain_markdown, to_markdown, to_terminal
from megatron_redone.evaluation.tables import sections
from tests.helpers.evaluated_sources import evaluation_content


def test_markdown_and_terminal_hold_every_value() -> None:
    from rich.console import Console

    evaluation = evaluation_content()
    markdown = to_markdown(evaluation)
    console = Console(width=200, file=io.StringIO())
    for part in to_terminal(evaluation):
        console.print(part)
    terminal = console.file.getvalue()  # type: ignore[attr-defined]
    for section in sections(evaluation):
        for row in section.rows:
            assert row.title in markdown and row.title in terminal
            for cell in row.cells:
                for text in (cell.value, cell.bounds, cell.change, cell.change_bounds, cell.p_value):
                    assert text in markdown and text in terminal
    assert "**−0.2" in markdown and "95 % bootstrap intervals" in markdown


def test_a_name_is_text_in_markdown() -> None:
    """As a Markdown library shows it."""
    markdown = pytest.importorskip("markdown_it").MarkdownIt().enable("table")
    for name in ("my_model_v2", "a|b", "[x](http://y)", "<img src=x>", "`code`", "back\\slash", "AT&T"):
        table = markdown.render(f"| a | b |\n| --- | --- |\n| {plain_markdown(name)} | 1 |\n")
        shown = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert f"<td>{shown}</td>\n<td>1</td>" in table
