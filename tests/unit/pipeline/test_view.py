"""How far a pipeline is, and how long it takes yet."""

import pytest

from megatron_redone.config.pipeline import PipelineEntry
from megatron_redone.pipeline.markers import Marker
from megatron_redone.pipeline.plan import PlannedStage
from megatron_redone.pipeline.view import Forecast, progress_of


@pytest.mark.parametrize(
    ("line", "fraction"),
    [
        ("step  12/40  loss  2.1034  3:20 left", 0.3),
        (" 25 %  10 of 40 MB, 3.0 MB/s, 2.0 M tokens", 0.25),
        ("pairs: 1,200 of 4,800 pairs, 3.1 pairs/s", 0.25),
        ("data: social  66.7 %, 0.013 epochs over the run", None),
        ("saved runs/cpt/checkpoints/step-00000040", None),
    ],
)
def test_a_line_of_a_log_tells_how_far_a_stage_is(line: str, fraction: float | None) -> None:
    assert progress_of(line) == fraction


def test_a_lone_comma_is_no_number() -> None:
    assert progress_of("the corpus, of 12 files, is read") is None


def planned(name: str, minutes: float | None, before: float | None = None) -> PlannedStage:
    return PlannedStage(
        number=1,
        entry=PipelineEntry(name=name, stage="tokenize", minutes=minutes),
        file=None,
        marker=Marker(work="new"),
        before=None if before is None else Marker(work="old", seconds=before),
        chosen=True,
        reasons=["not run yet"],
        missing=[],
    )


def test_the_time_left_goes_by_what_stages_took_before_and_how_fast_this_machine_is() -> None:
    forecast = Forecast([planned("a", minutes=1), planned("b", minutes=2), planned("c", minutes=9, before=60)])
    assert forecast.left(elapsed=0, fraction=None) == 60 + 120 + 60
    assert forecast.left(elapsed=15, fraction=0.25) == 45 + 120 + 60
    forecast.finished(120)  # twice as long as expected
    assert forecast.left(elapsed=0, fraction=0.01) == 2 * (120 + 60)
    assert Forecast([planned("a", minutes=None)]).left(elapsed=10, fraction=None) is None
    assert Forecast([planned("a", minutes=None)]).left(elapsed=10, fraction=0.5) == 10
