"""What the page draws."""

from pathlib import Path
from typing import Any

import pytest

from megatron_redone.evaluation.tables import Cell, Row
from megatron_redone.metrics.trackers import JsonlTracker
from megatron_redone.report.content import ReportContent
from megatron_redone.report.funnel_view import FunnelStep, SourceFunnel
from megatron_redone.report.run_history import read_run
from megatron_redone.report.views import bars, lanes, run_view, tiles
from tests.helpers.evaluated_sources import answers, evaluation_content


def test_preferences_are_drawn_from_the_first_step_on(tmp_path: Path) -> None:
    """At step 0 policy and reference are one model, and an accuracy of zero would mislead."""
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    tracker.log(0, {"validation/pairs/accuracy": 0.0, "validation/pairs/loss": 0.693})
    for step in (1, 2):
        tracker.log(step, {"loss": 0.6, "accuracy": 0.5, "margin": 0.1, "reward_chosen": 0.2, "reward_rejected": 0.1,
                           "validation/pairs/accuracy": 0.75, "validation/pairs/loss": 0.6})  # fmt: skip
    tracker.close()
    view = run_view(read_run(tmp_path, "dpo"))
    assert [chart.title for chart in view.preferences] == ["Preference accuracy", "Reward margin", "Rewards"]
    validation = next(line for line in view.preferences[0].legend if line.label == "validation: pairs")
    assert (validation.series.steps, validation.series.values) == ([1, 2], [0.75, 0.75])
    assert ("pairs accuracy", "75.0 %") in view.facts and view.losses is not None and not view.beside


def test_a_run_is_described_by_its_first_and_last_numbers(run_folder: Path) -> None:
    view = run_view(read_run(run_folder, "cpt"))
    facts = dict(view.facts)
    assert (facts["steps"], facts["tokens"], facts["time in steps"]) == ("6", "600", "0:03")
    assert facts["a/b validation loss"] == "4.000 → 3.000" and facts["training loss"].startswith("3.500 → ")
    assert view.losses is not None
    assert [line.label for line in view.losses.legend] == ["training", "validation: a/b"]


def test_the_headline_of_answers_is_the_mean_over_their_sources_with_its_interval() -> None:
    """One source of five examples at 60 % is not the headline where another one is at 0 %."""
    few = answers("few", {"base": [0] * 5, "ours": [1, 1, 1, 0, 0]})
    many = answers("many_more", {"base": [0] * 40, "ours": [0] * 40})
    [tile] = tiles(_content(evaluation_content(sources=[few, many])))
    assert (tile.label, tile.value, tile.caption) == ("Answers", "30.0 %", "exact match, mean of 2 sources")
    low, high = map(float, tile.bounds.split(" – "))
    assert 5 <= low < 30 < high <= 50, "half of what five examples say"
    assert tile.change == "+30.0" and tile.note.startswith("from 0.0 %, p = ")


def test_the_headline_of_one_source_names_it() -> None:
    [tile] = tiles(_content(evaluation_content("ours", [answers("few_tags", {"ours": [1, 0, 0, 0]})])))
    assert (tile.value, tile.caption) == ("25.0 %", "exact match, few_tags")
    assert (tile.change, tile.note) == ("", "ours") and tile.bounds


def _content(evaluation: dict[str, Any]) -> ReportContent:
    return ReportContent(title="", runs=[], funnels=[], evaluation=evaluation, packing=[], versions={}, notes=[])


def interval(low: float, number: float, high: float) -> Cell:
    return Cell(number=number, low=low, high=high, value="", bounds="")


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_intervals_of_a_row_are_on_one_scale_within_the_picture(scale: float) -> None:
    cells = [interval(1 * scale, 2 * scale, 3 * scale), interval(2 * scale, 4 * scale, 5 * scale)]
    first, second = lanes(Row(title="x", detail="", examples=9, cells=cells))
    places = [first.low, first.value, first.high, second.low, second.value, second.high]
    assert 0 < min(places) == first.low and max(places) == second.high < 100
    assert first.value == pytest.approx(second.low) and first.low + second.high == pytest.approx(100)
    assert first.value - first.low == pytest.approx(first.high - first.value)


def test_an_interval_of_no_width_stands_in_the_middle() -> None:
    [lane] = lanes(Row(title="x", detail="", examples=9, cells=[interval(0.5, 0.5, 0.5)]))
    assert (lane.low, lane.value, lane.high) == (50, 50, 50)


def test_bars_and_what_went_fill_the_bar_before() -> None:
    steps = [FunnelStep(step=str(left), documents=left, characters=0, tokens=None, dropped=0, held_out=0, reasons={})
             for left in (80, 80, 20)]  # fmt: skip
    drawn = bars(SourceFunnel(source="x", entered=100, steps=steps))
    before = [100.0, *(bar.left for bar in drawn)]
    assert [bar.left + bar.gone for bar in drawn] == pytest.approx(before[:-1])
    nothing = [FunnelStep(step="x", documents=0, characters=0, tokens=None, dropped=0, held_out=0, reasons={})]
    assert [(bar.left, bar.gone) for bar in bars(SourceFunnel(source="x", entered=0, steps=nothing))] == [(0, 0)]
