"""A pass ends when one of its processes was killed, even where its pool would wait for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a background process of a shell
from pathlib import Path
from megatron_redone.curation import watching
watching._LOOK_EVERY_S, watching._ENDS_WITHIN_S = 0.5, 0.5  # a busy machine enters within the first
with watching.Watch(Path(sys.argv[1])):
    try:
        time.sleep(30)
    except KeyboardInterrupt:
        if sys.argv[2] == "hangs":
            time.sleep(30)
        raise
"""


@pytest.mark.parametrize(("pool", "code"), [("ends", 1), ("hangs", 2)])
def test_a_dead_process_ends_the_pass(tmp_path: Path, pool: str, code: int) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / str(dead.pid)).touch()
    command = [sys.executable, "-c", CODE, str(tmp_path), pool]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == code and "a worker process was killed" in done.stderr


def test_processes_that_live_or_have_just_ended_are_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE.replace("time.sleep(30)", "time.sleep(1.6)"), str(tmp_path), "ends"]
    alive = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"])
    (tmp_path / str(alive.pid)).touch()
    assert subprocess.run(command, timeout=20).returncode == 0
    alive.kill()
