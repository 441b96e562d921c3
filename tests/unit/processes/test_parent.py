"""Ranks end soon after the launcher that was to end them is killed."""

import os
import signal
import subprocess
import sys
import time

RANK = "import time; from megatron_redone.processes.parent import end_with_launcher as end; end(0.05); time.sleep(60)"
LAUNCHER = (
    f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {RANK!r}]); "
    "print(p.pid, flush=True); p.wait()"
)


def lives(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def rank_after_kill(environment: dict[str, str], seconds: float) -> bool:
    """Whether a rank still lives so long after its launcher was killed."""
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, text=True, env=environment)
    assert launcher.stdout is not None
    rank = int(launcher.stdout.readline())
    time.sleep(1.5)  # for its imports
    try:
        assert lives(rank)
        launcher.kill()
        launcher.wait()
        end = time.monotonic() + seconds
        while lives(rank) and time.monotonic() < end:
            time.sleep(0.05)
        return lives(rank)
    finally:
        if lives(rank):
            os.kill(rank, signal.SIGKILL)


def test_a_rank_does_not_outlive_its_launcher() -> None:
    assert not rank_after_kill({**os.environ, "TORCHELASTIC_RUN_ID": "none"}, 10)


def test_what_torchrun_has_not_started_goes_on() -> None:
    alone = {name: value for name, value in os.environ.items() if name != "TORCHELASTIC_RUN_ID"}
    assert rank_after_kill(alone, 0.5)
