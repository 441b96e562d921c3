"""The page opens without a network, and names of users are text on it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from megatron_redone.report.content import ReportContent
from megatron_redone.report.funnel_view import FunnelStep, SourceFunnel
from megatron_redone.report.page import render_page
from megatron_redone.report.run_history import read_run

pytest.importorskip("jinja2")

NAME = "<script>alert(1)</script>_x & y"


class Page(HTMLParser):
    """Elements that are open at the end, what is loaded, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.scripts = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "wbr", "hr", "img", "input", "link", "col"):
            self.open.append(tag)
        self.scripts += tag == "script"
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.text += data


@pytest.fixture
def content(run_folder: Path) -> ReportContent:
    step = FunnelStep(step="read", documents=70, characters=1, tokens=None, dropped=30, held_out=0, reasons={NAME: 30})
    return ReportContent(
        title=NAME,
        runs=[read_run(run_folder, NAME)],
        funnels=[SourceFunnel(source=NAME, entered=100, steps=[step])],
        evaluation=None,
        packing=[],
        versions={"torch": "2.0"},
        notes=[NAME],
    )


def test_the_page_is_whole_and_loads_nothing(content: ReportContent) -> None:
    page = Page()
    page.feed(render_page(content, "today"))
    assert page.open == [] and page.scripts == 1
    assert all(target.startswith(("#", "data:")) for target in page.loaded)
    words = re.sub(r"\s+", " ", page.text)
    for part in ("today", "Curation kept", "70.0 %", "training loss"):
        assert part in words
    assert words.count(NAME) >= 4, "title, run, reason and note stand there as they are"


def test_a_page_without_anything_says_why(content: ReportContent) -> None:
    empty = ReportContent(
        title="x", runs=[], funnels=[], evaluation=None, packing=[], versions={}, notes=["Training: no run was named."]
    )
    page = Page()
    page.feed(render_page(empty, "today"))
    assert "no run was named" in page.text and page.open == []
