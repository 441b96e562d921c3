"""tools/compare_runs.py"""

from pathlib import Path

import pytest

from megatron_redone.metrics.trackers import JsonlTracker
from tools.compare_runs import main


def run(folder: Path, losses: list[float], **more: float) -> str:
    tracker = JsonlTracker(folder / "metrics.jsonl")
    for step, loss in enumerate(losses, 1):
        tracker.log(step, {"loss": loss, "grad_norm": 1.0, "seconds_per_step": loss, "memory_gb": step, **more})
    tracker.close()
    return str(folder)


def test_equal_runs_are_equal_whatever_the_machine_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = run(tmp_path / "a", [3.0, float("nan"), 2.0]), run(tmp_path / "b", [3.0, float("nan"), 2.0])
    assert main([one, f"{two}/metrics.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert "steps 1 to 3" in shown and "loss       the same on 3 steps" in shown
    assert "seconds" not in shown and "memory" not in shown


def test_the_first_step_that_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = run(tmp_path / "a", [4.0, 3.0, 2.0, 1.0]), run(tmp_path / "b", [4.0, 3.0, 2.5, 2.0])
    assert main([one, two]) == 1
    shown = capsys.readouterr().out
    assert "differs from step 3 on: by 0.5 (0.2 relative) there, by 0.5 at most (step 4)" in shown
    assert "grad_norm  the same on 4 steps" in shown
    assert main([one, two, "--tolerance", "0.5"]) == 0 and main([one, two, "--metric", "grad_norm"]) == 0


def test_a_number_beside_none_differs(tmp_path: Path) -> None:
    one, two = run(tmp_path / "a", [4.0, float("nan")]), run(tmp_path / "b", [4.0, 3.0])
    assert main([one, two, "--tolerance", "1e9"]) == 1


def test_a_cut_last_line_is_left_out(tmp_path: Path) -> None:
    one, two = run(tmp_path / "a", [4.0, 3.0]), run(tmp_path / "b", [4.0, 3.0])
    with open(f"{two}/metrics.jsonl", "a") as stream:
        stream.write('{"step": 3, "lo')
    assert main([one, two]) == 0


def test_mistakes_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = run(tmp_path / "a", [4.0])
    assert main([one, str(tmp_path / "none")]) == 2
    assert "none: cannot be read" in capsys.readouterr().err
    assert main([one, one, "--metric", "los"]) == 2
    assert "los: " in (told := capsys.readouterr().err) and "it has step, time, loss" in told
    (tmp_path / "text").write_text("x\ny\n")
    assert main([one, str(tmp_path / "text")]) == 2
    assert "line 1 is no record" in capsys.readouterr().err
