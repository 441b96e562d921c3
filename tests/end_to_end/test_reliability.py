"""Short forms of the proofs in tools/reliability: files are damaged and runs are killed, as long as a test may take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.distributed


def counts(tool: str, *arguments: str) -> dict[str, int]:
    """What a tool counts; a process of its own, as it forks."""
    command = [sys.executable, str(ROOT / "tools" / "reliability" / tool), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return json.loads(done.stdout[done.stdout.index("{") :])


def test_no_damaged_file_leads_to_another_result_unseen(tmp_path: Path) -> None:
    found = counts("damage.py", "--trials", "14", "--results", str(tmp_path / "damage.jsonl"))
    assert found["trials"] == 14 and not found["silent"] and not found["traceback"]
    assert found["named"] + found["older"] >= 10


def test_a_run_that_is_killed_ends_as_one_that_is_not(tmp_path: Path) -> None:
    found = counts("kills.py", "--kills", "4", "--results", str(tmp_path / "kills.jsonl"))
    assert found["kills"] >= 4 and found["runs"] == found["runs_bit_equal"] >= 1 and not found["leftovers"]


def test_no_rank_outlives_a_launcher_that_is_killed_while_it_starts() -> None:
    found = counts("kills.py", "--starting", "6")
    assert found == {"kills_starting": 6, "kills_starting_orphaned": 0}
