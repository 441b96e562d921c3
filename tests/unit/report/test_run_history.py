"""A run's folder as figures over steps."""

from pathlib import Path

import pytest

from megatron_redone.metrics.trackers import JsonlTracker
from megatron_redone.report.run_history import read_run


def test_a_run_is_read_as_the_tracker_wrote_it(run_folder: Path) -> None:
    run = read_run(run_folder, "cpt")
    assert run.train["loss"].steps == [2, 4, 6] and run.train["loss"].last == 2.5
    assert run.validation["a/b"]["loss"].values == [4.0, 3.0]
    assert (run.steps, run.tokens, run.seconds, run.kind) == (6, 600, 3.0, "continued pretraining")


def test_time_in_steps_is_that_of_every_step_also_where_one_of_many_is_logged(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    for step, seconds in ((10, 3.0), (20, 1.0), (25, 2.0)):
        tracker.log(step, {"seconds_per_step": seconds})
    tracker.close()
    run = read_run(tmp_path, "cpt")
    assert run.seconds == 10 * 3.0 + 10 * 1.0 + 5 * 2.0
    assert (run.steps, run.tokens, run.kind, run.config_yaml) == (25, None, "training", "")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ("data: {seq_length: 8}", "pretraining"),
        ("init_from: null\ndata: {seq_length: 8}", "pretraining"),
        ("init_from: base\ndata: {validation_rows: 2}", "supervised fine-tuning"),
        ("init_from: base\ndata: {validation_pairs: 2}", "preference optimisation"),
    ],
)
def test_the_stage_is_told_by_its_configuration(run_folder: Path, config: str, kind: str) -> None:
    (run_folder / "config.yaml").write_text(config)
    assert read_run(run_folder, "x").kind == kind


def test_a_folder_that_is_no_run_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path, "x")
