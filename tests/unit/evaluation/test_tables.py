"""The tables of an evaluation.json."""

import io
import json
from typing import Any

import pytest

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.evaluation.comparison import compute_metrics
from megatron_redone.evaluation.tables import plain_markdown, sections, to_markdown, to_terminal
from tests.helpers.evaluated_sources import SOURCES


@pytest.fixture(scope="module")
def evaluation() -> dict[str, Any]:
    metrics = compute_metrics(SOURCES, "base", BootstrapConfig(resamples=400, seed=5))
    content = {
        "base": "base",
        "models": [{"name": "base"}, {"name": "ours"}],
        "metrics": [value.as_record() for value in metrics],
        "config": {"bootstrap": {"resamples": 400, "confidence": 0.95}},
    }
    return json.loads(json.dumps(content))


def test_tables_put_models_side_by_side_and_say_what_improved(evaluation: dict[str, Any]) -> None:
    social, general, preferences, answers = sections(evaluation)
    assert [row.title for row in social.rows] == ["tweets", "posts", "mean of 2 sources"]
    assert [row.is_mean for row in social.rows] == [False, False, True]
    assert [row.title for row in general.rows] == ["wiki"], "the mean of one source is itself"
    assert [cell.improved for cell in social.rows[0].cells] == [None, True], "fewer bits are better"
    assert [cell.improved for cell in general.rows[0].cells] == [None, None]
    pairs = preferences.rows[0].cells[1]
    assert (pairs.value, pairs.change, pairs.improved) == ("100.0 %", "+50.0", True)
    assert answers.rows[1].detail == "information extraction, F1 of items"


def test_markdown_and_terminal_hold_every_value(evaluation: dict[str, Any]) -> None:
    from rich.console import Console

    markdown = to_markdown(evaluation)
    console = Console(width=200, file=io.StringIO())
    for part in to_terminal(evaluation):
        console.print(part)
    terminal = console.file.getvalue()  # type: ignore[attr-defined]
    for section in sections(evaluation):
        for row in section.rows:
            assert row.title in markdown and row.title in terminal
            for cell in row.cells:
                for text in (cell.value, cell.bounds, cell.change, cell.change_bounds):
                    assert text in markdown and text in terminal
    assert "**−0.2" in markdown and "95 % bootstrap intervals" in markdown


def test_a_name_is_text_in_markdown() -> None:
    """As a Markdown library shows it."""
    markdown = pytest.importorskip("markdown_it").MarkdownIt().enable("table")
    for name in ("my_model_v2", "a|b", "[x](http://y)", "<img src=x>", "`code`", "back\\slash", "AT&T"):
        table = markdown.render(f"| a | b |\n| --- | --- |\n| {plain_markdown(name)} | 1 |\n")
        shown = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert f"<td>{shown}</td>\n<td>1</td>" in table
