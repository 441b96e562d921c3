"""A search as pictures: every run is a point, and names are text."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.report import ReportConfig
from megatron_redone.report.content import gather
from megatron_redone.report.mixture_view import mixture_view, render_mixture
from megatron_redone.report.page import render_page
from megatron_redone.report.plain_documents import report_json, report_markdown

pytest.importorskip("jinja2")
NAME = "<b>web</b>"


@pytest.fixture
def content() -> dict[str, Any]:
    names = [NAME, "posts"]
    shares = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    row = {"name": "predicted winner", "mean": 2.5, "half_width": 0.1, "winner_minus": None,
           "winner_minus_half_width": None, "verdict": "", "weights": {}, "losses": {}}  # fmt: skip
    return {
        "format": "megatron_redone.mixture/1",
        "sources": [{"name": name, "tokens": 1000, "prior": 0.5, "cap": 1.0} for name in names],
        "parts": names,
        "mixture": {NAME: 0.3, "posts": 0.7},
        "regressions": [{"name": "log-linear", "rank_correlation": 0.95, "error": 0.01}],
        "noise_between_seeds": 0.01,
        "table": [row, {**row, "name": "prior", "winner_minus": -0.2, "winner_minus_half_width": 0.1}],
        "effects": {name: [[0.0, 3.0], [1.0, 2.0]] for name in names},
        "runs": [
            {"name": f"design {n}", "weights": {NAME: x, "posts": 1 - x}, "parts": [x, 1 - x], "kept_out": n == 5,
             "loss": 2 + x if n else None, "predicted": 2.1 + x if n else None, "diverged": None if n else "NaN"}
            for n, x in enumerate(shares)
        ],
    }  # fmt: skip


def test_every_run_that_did_not_diverge_is_a_point(content: dict[str, Any]) -> None:
    view = mixture_view(content)
    predicted, effects, *against = view.pictures
    points = {mark.label: mark.path.count("h0") for mark in predicted.marks if mark.style == "dot"}
    assert points == {"fitted": 4, "kept out": 1}
    assert [mark.label for mark in effects.marks] == [NAME, "posts"] and len(against) == 2
    assert [column.title for column in view.columns][2:] == [
        *("measured, no. 1 (2.200)", "measured, no. 2 (2.400)", "measured, no. 3 (2.600)"),
    ]
    places = [float(place) for picture in view.pictures for mark in picture.marks
              for place in re.findall(r"[\d.]+(?= |h|L|$)", mark.path)]  # fmt: skip
    assert places and all(0 <= place <= 1000 for place in places)
    # A loss that grows with the weight rises to the right: the height in the box falls.
    dots = re.findall(r"M([\d.]+) ([\d.]+)h0", against[0].marks[0].path)
    assert [float(x) for x, _ in dots] == sorted(float(x) for x, _ in dots)
    assert [float(y) for _, y in dots] == sorted((float(y) for _, y in dots), reverse=True)


def test_names_are_text_on_the_page(content: dict[str, Any]) -> None:
    html = render_mixture(content)
    assert NAME not in html and "&lt;b&gt;web&lt;/b&gt;" in html and "-0.2000" in html


def test_the_report_shows_it_or_says_why_not(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mixture.json").write_text(json.dumps(content))
    there = gather(ReportConfig(output="x", mixture=str(tmp_path)))
    assert 'id="mixture"' in render_page(there, "today") and "| predicted winner |" in report_markdown(there, "today")
    assert report_json(there, "today")["mixture"]["mixture"] == content["mixture"]
    (tmp_path / "mixture.json").write_text("{}")
    broken = gather(ReportConfig(output="x", mixture=str(tmp_path)))
    assert broken.mixture is None and "is no result of `redone optimize-mixture`" in broken.notes[-1]
    assert 'id="mixture"' not in render_page(broken, "today")
