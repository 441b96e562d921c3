"""A mistake ends all ranks with one line on rank 0, and nobody waits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import start_context
from megatron_redone.distributed.collectives import StoppedOnAllRanks, errors_stop_all_ranks
from megatron_redone.errors import UserError
from tests.helpers.ranks import run_on_ranks

pytestmark = pytest.mark.distributed


def start_badly() -> tuple[int | str | None, str]:
    try:
        start_context(ParallelConfig(tensor_model_parallel_size=2), Device.cpu)
    except StoppedOnAllRanks as stop:
        return stop.code, stop.reason
    except UserError as error:
        return "passed on", str(error)
    raise AssertionError("the layout was accepted")


def test_a_layout_that_does_not_divide_the_world() -> None:
    answers = run_on_ranks(3, start_badly)
    assert {code for code, _ in answers} == {2}
    assert all("takes 2 processes" in reason and "the 3 that run" in reason for _, reason in answers)


def test_a_single_process_raises_the_error_itself() -> None:
    [(code, text)] = run_on_ranks(1, start_badly)
    assert code == "passed on" and text.startswith("one copy of the model takes 2 processes")


def fail_on(rank: int, error: Exception) -> tuple[int | str | None, str]:
    context = start_context(ParallelConfig(), Device.cpu)
    try:
        with errors_stop_all_ranks():
            if context.rank == rank:
                raise error
    except StoppedOnAllRanks as stop:
        return stop.code, stop.reason
    return None, ""


def test_a_mistake_found_on_one_rank_stops_all() -> None:
    assert run_on_ranks(3, fail_on, 2, UserError("text.bin: truncated")) == [(2, "text.bin: truncated (rank 2)")] * 3


def test_another_exception_stops_all_with_another_code() -> None:
    assert run_on_ranks(2, fail_on, 1, ValueError("x\ny")) == [(1, "ValueError: x y (rank 1)")] * 2


def test_no_error_stops_nobody() -> None:
    assert run_on_ranks(2, fail_on, 7, ValueError()) == [(None, "")] * 2


PROGRAM = """
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import start_context
start_context(ParallelConfig(tensor_model_parallel_size=3), Device.cpu)
"""


def test_under_torchrun(tmp_path: Path) -> None:
    """The line is printed once, though the launcher kills the others when the first rank has ended."""
    (tmp_path / "program.py").write_text(PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(
        [*launcher, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode != 0
    lines = [line for line in run.stderr.splitlines() if line.startswith("redone: ")]
    assert len(lines) == 1 and "takes 3 processes" in lines[0]
