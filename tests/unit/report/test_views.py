"""What the page draws."""

from pathlib import Path

import pytest

from megatron_redone.evaluation.tables import Cell, Row
from megatron_redone.metrics.trackers import JsonlTracker
from megatron_redone.report.funnel_view import FunnelStep, SourceFunnel
from megatron_redone.report.run_history import read_run
from megatron_redone.report.views import bars, lanes, run_view


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
