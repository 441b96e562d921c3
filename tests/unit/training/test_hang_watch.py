"""What a run that hangs says where an error of a collective comes just then."""

import os
import subprocess
import sys
from pathlib import Path

LEAVES = """
import time
from pathlib import Path
from types import SimpleNamespace
from megatron_redone.config.guards import GuardConfig
from megatron_redone.training.hang_watch import HangWatch

watch = HangWatch(GuardConfig(hang_minutes=0.01), SimpleNamespace(rank=0, world_size=1, is_main=True), Path("hangs"))
writes = watch._write_stacks

def write_after_the_error():
    while watch._left is None:
        time.sleep(0.01)
    writes()

watch._write_stacks = write_after_the_error
with watch:
    while not watch._ends.is_set():
        time.sleep(0.01)
    raise RuntimeError("gloo: Connection closed by peer")
"""


def test_an_error_of_a_collective_while_the_watch_ends_the_run_is_its_place(tmp_path: Path) -> None:
    """It is told once, by the watch, and not as a place of the watch itself."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-W", "ignore", "-c", LEAVES]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    [line] = [line for line in done.stderr.splitlines() if line.startswith("redone: ")]
    assert done.returncode == 1 and "the process is in an error of a collective" in line
    assert "Traceback" not in done.stderr
