"""The report in Markdown: what a title or a name may not do to a page that shows it."""

import dataclasses
import re

import pytest

from megatron_redone.report.content import ReportContent
from megatron_redone.report.funnel_view import FunnelStep, SourceFunnel
from megatron_redone.report.packed_sources import PackedSource
from megatron_redone.report.plain_documents import report_json, report_markdown
from megatron_redone.report.run_history import RunHistory, Series

EVIL = "<script>alert(1)</script> [x](javascript:1) | a\nb"
STEP = FunnelStep(
    step=EVIL, documents=1, characters=2, tokens=None, dropped=0, held_out=0, reasons={EVIL: 1}
)  # fmt: skip


def _content(evaluation: bool = True) -> ReportContent:
    series = Series(steps=[0, 1], values=[2.0, 1.0])
    run = RunHistory(name=EVIL, path="x", kind="training", config_yaml="", train={"loss": series},
                     validation={EVIL: {"loss": series}})  # fmt: skip
    packed = PackedSource(run=EVIL, source=EVIL, conversations=1, rows=1, efficiency=0.5, unpacked=0.5, truncated=0,
                          dropped=0)  # fmt: skip
    entry = {"model": EVIL, "kind": "preferences", "source": EVIL, "side": "", "metric": "preference_accuracy",
             "examples": 1, "value": 1.0, "low": 1.0, "high": 1.0}  # fmt: skip
    judged = {"base": EVIL, "models": [{"name": EVIL}], "metrics": [entry], "comparisons": [],
              "config": {"bootstrap": {"resamples": 100, "confidence": 0.95}}}  # fmt: skip
    return ReportContent(
        title=EVIL, runs=[run], funnels=[SourceFunnel(source=EVIL, entered=1, steps=[STEP])],
        evaluation=judged if evaluation else None, packing=[packed], versions={"torch": "2"}, notes=[EVIL],
    )  # fmt: skip


def test_titles_and_names_stay_text() -> None:
    markdown = report_markdown(_content(), "today")
    assert markdown.count("&lt;script&gt;") >= 12
    assert not re.search(r"<(?!br>)", markdown) and "](" not in markdown.replace("\\](", "")
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    tables = [re.sub(r"\\.", "", line).count("|") for line in rows]
    assert set(tables) == {4, 9, 7}, "a name added a column"


@pytest.mark.parametrize("name", ["my_run.v2", "Qwen2.5-7B", "周末 posts"])
def test_ordinary_names_are_written_as_they_are(name: str) -> None:
    content = dataclasses.replace(_content(evaluation=False), title=name)
    assert report_markdown(content, "today").startswith(f"# {name}\n")


def test_json_keeps_names_as_they_are() -> None:
    assert report_json(_content(), "today")["title"] == EVIL
