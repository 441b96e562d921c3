"""A rank that sleeps, stops, raises or leaves ends the run within its limit, and is named."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.pretrain_runs import figures, write_inputs

pytestmark = pytest.mark.distributed

REPOSITORY = Path(__file__).parents[2]


def launch(folder: Path, fault: str, rank: int, *keys: str, ranks: int = 2, restarts: int = 0) -> tuple[int, str]:
    """Exit code and what was said to standard error."""
    keys = (*write_inputs(folder), f"output_dir={folder}/run", *keys)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
        "--max-restarts", str(restarts), "-m", "tests.helpers.faulty_rank", fault, str(rank), "4", *keys,
    ]  # fmt: skip
    # As in examples/launch: torchrun alone would wait ten minutes for a process that does not end.
    patience = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "600", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    environment = {**os.environ, **patience, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


def said(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("redone: ")]


LIMIT = "guards.hang_minutes=0.2"


def test_a_rank_that_sleeps_is_named_with_the_place_where_it_is(tmp_path: Path) -> None:
    code, text = launch(tmp_path, "sleep", 1, LIMIT)
    assert code != 0
    [line] = said(text)
    assert line.startswith("redone: no step for 12 s after step 3: rank 0 waits for rank 1 (")
    assert re.search(r"which is in \S+ \(faulty_rank.py:\d+\)", line), line
    stacks = {file.name: file.read_text() for file in (tmp_path / "run" / "hangs").iterdir()}
    assert set(stacks) == {"rank-0.txt", "rank-1.txt"}
    assert "distributed_c10d.py" in stacks["rank-0.txt"] and "faulty_rank.py" in stacks["rank-1.txt"]


def test_a_stopped_rank_is_named_and_ended(tmp_path: Path) -> None:
    code, text = launch(tmp_path, "stop", 1, LIMIT)
    assert code != 0
    [line] = said(text)
    assert "rank 0 waits for rank 1 (" in line and "said nothing for" in line


def test_rank_0_is_ended_too_where_it_is_stopped_and_with_it_the_store(tmp_path: Path) -> None:
    code, text = launch(tmp_path, "stop", 0, LIMIT)
    assert code != 0
    [line] = said(text)
    assert "after step 3: rank 1 is in" in line and "and rank 0 does not answer" in line


@pytest.mark.parametrize(
    ("fault", "reason"),
    [pytest.param("raise", "ValueError: a bad sector", marks=pytest.mark.slow), ("exit", "exit with code 0")],
)
def test_a_rank_that_ends_in_the_midst_is_named_by_the_others(fault: str, reason: str, tmp_path: Path) -> None:
    code, text = launch(tmp_path, fault, 1, "training.global_batch_size=6", ranks=3)
    assert code != 0
    lines = said(text)
    assert lines[0].startswith(f"redone: rank 1 ends: {reason}"), "its own message comes first"
    assert any("ranks 0, 2 wait for rank 1 (" in line and reason in line for line in lines[1:]), lines


def test_a_rank_that_vanishes_is_named_and_the_run_goes_on_after_a_restart(tmp_path: Path) -> None:
    code, text = launch(tmp_path, "vanish", 1, "checkpoint.save_every=2", restarts=1)
    assert code == 0, text[-3000:]
    [line] = said(text)
    assert "after step 3: rank 0 waits for rank 1 (" in line and "said nothing for" in line
    assert list(figures(tmp_path / "run")) == list(range(1, 11))


def test_a_slow_rank_is_named(tmp_path: Path) -> None:
    code, text = launch(tmp_path, "slow", 1, "training.train_steps=45", ranks=2)
    assert code == 0, text[-3000:]
    [line] = [line for line in text.splitlines() if "is slow" in line]
    found = re.match(r"rank 1 \(\S+\) is slow: (\d\.\d\d) s of its own work a step, the median rank (\d\.\d\d) s", line)
    # It sleeps for 0.4 s a step; fifty looks find that to within a tenth, and the first figure has steps before it.
    assert found is not None and float(found[1]) >= 0.3 and float(found[2]) <= 0.15, line
