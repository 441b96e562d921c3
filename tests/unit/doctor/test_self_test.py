"""The small trainings of `redone doctor`: which, what they compare, and how they fail."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from megatron_redone.doctor import self_test
from megatron_redone.doctor.self_test import SelfTest, Trial, TrialResult


def test_trials_take_the_gpus_that_are_there() -> None:
    assert [(t.processes, t.device) for t in self_test._trials(0)] == [(1, "cpu"), (2, "cpu")]
    assert [(t.processes, t.device) for t in self_test._trials(1)] == [(1, "cpu"), (2, "cpu"), (1, "cuda")]
    assert [(t.processes, t.device) for t in self_test._trials(8)] == [(1, "cuda"), (2, "cuda")]


def test_losses_that_differ_do_not_pass() -> None:
    def tested(*losses: list[float]) -> SelfTest:
        results = [TrialResult(trial=Trial(processes=1, device="cpu"), losses=one) for one in losses]
        return SelfTest(results=results, seconds=1, difference=self_test._difference(results), tolerance=1e-5)

    assert tested([4.0, 3.0, 2.0], [4.0, 3.0, 2.0 + 1e-6]).passed
    apart = tested([4.0, 3.0, 2.0], [4.0, 3.1, 2.0])
    assert not apart.passed and apart.difference == pytest.approx(0.1 / 3)
    assert not tested([4.0, 3.0, 2.0], []).passed


def test_processes_that_give_no_answer_are_ended_and_told() -> None:
    start = time.monotonic()
    tested = self_test.run_self_test(0, timeout=0.2)
    assert time.monotonic() - start < 10 and not tested.passed
    assert {result.error for result in tested.results} == {"no answer in time; do the processes see each other?"}
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "redone-doctor-" not in running


def test_a_process_that_fails_is_quoted(tmp_path: Path) -> None:
    output = tmp_path / "0"
    output.mkdir()
    (output / "0.log").write_text("Traceback ...\nRuntimeError: connection refused\n")
    failing = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], text=True)
    started = self_test._Started(Trial(processes=1, device="cpu"), output, [failing])
    result = started.result(time.monotonic() + 30)
    assert result.error == "RuntimeError: connection refused" and result.losses == []
