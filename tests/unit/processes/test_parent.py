"""Ranks end soon after the launcher that was to end them is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

NOTES_AND_ENDS = """
import contextlib, time
import megatron_redone.processes.parent as parent
print("noted", flush=True)
time.sleep({imports})
parent.end_with_launcher(0.05)
with contextlib.suppress(BrokenPipeError):  # who reads it is gone where the launcher was killed before
    print("watches", flush=True)
time.sleep(60)
"""
LAUNCHER = """
import subprocess, sys
rank = subprocess.Popen([sys.executable, "-c", {rank!r}], stdout=subprocess.PIPE, text=True)
print(rank.pid, flush=True)
for line in rank.stdout:
    print(line, end="", flush=True)
rank.wait()
"""
BY_TORCHRUN = {"TORCHELASTIC_RUN_ID": "none"}


def lives(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def rank_after_kill(started: dict[str, str], killed_at: str, seconds: float, imports: float = 0.0) -> bool:
    """Whether a rank still lives so long after its launcher was killed, as soon as it had said `killed_at`."""
    alone = {name: value for name, value in os.environ.items() if name != "TORCHELASTIC_RUN_ID"}
    command = [sys.executable, "-c", LAUNCHER.format(rank=NOTES_AND_ENDS.format(imports=imports))]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**alone, **started})
    assert launcher.stdout is not None
    rank = int(launcher.stdout.readline())
    try:
        while launcher.stdout.readline().strip() != killed_at:
            assert lives(rank)
        launcher.kill()
        launcher.wait()
        end = time.monotonic() + imports + seconds
        while lives(rank) and time.monotonic() < end:
            time.sleep(0.05)
        return lives(rank)
    finally:
        launcher.stdout.close()
        if lives(rank):
            os.kill(rank, signal.SIGKILL)


def test_a_rank_does_not_outlive_its_launcher() -> None:
    assert not rank_after_kill(BY_TORCHRUN, "watches", 10)


def test_a_rank_does_not_outlive_a_launcher_that_is_killed_while_it_imports() -> None:
    assert not rank_after_kill(BY_TORCHRUN, "noted", 10, imports=0.5)


STARTS_LATE = """
import os, sys, time
launcher = os.getppid()
print(os.getpid(), flush=True)
while os.getppid() == launcher:
    time.sleep(0.05)
import megatron_redone.processes.parent as parent
parent.end_with_launcher(0.05)
time.sleep(60)
"""


def test_a_rank_that_starts_after_its_launcher_was_killed_ends(tmp_path: Path) -> None:
    """Who adopts it is no Python program; an adopter that is one cannot be told from torchrun."""
    (tmp_path / "rank.py").write_text(STARTS_LATE)
    rank = f"{sys.executable} {tmp_path}/rank.py 2>{tmp_path}/said & read _ < {tmp_path}/never"
    os.mkfifo(tmp_path / "never")
    launcher = subprocess.Popen(
        ["bash", "-c", rank], stdout=subprocess.PIPE, text=True, env={**os.environ, **BY_TORCHRUN}
    )
    assert launcher.stdout is not None
    number = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    adopter = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1]
    try:
        if b"python" in Path(f"/proc/{adopter}/cmdline").read_bytes():
            pytest.skip("who adopts processes is a Python program here")
        end = time.monotonic() + 30
        while lives(number) and time.monotonic() < end:
            time.sleep(0.05)
        assert not lives(number) and "torchrun was killed while the rank started" in (tmp_path / "said").read_text()
    finally:
        launcher.stdout.close()
        if lives(number):
            os.kill(number, signal.SIGKILL)


def test_what_torchrun_has_not_started_goes_on() -> None:
    assert rank_after_kill({}, "watches", 0.5)


FORKS = """
import os, time
from megatron_redone.processes import parent
if child := os.fork():
    {launcher}
time.sleep(0.5)
parent.end_with_launcher(0.05)
time.sleep(1)
os.write(1, b"lives")
"""


WAITS, GOES = "raise SystemExit(os.waitpid(child, 0)[1])", "os._exit(0)"


@pytest.mark.parametrize(("launcher", "said"), [(WAITS, b"lives"), (GOES, b"")])
def test_the_launcher_of_a_fork_is_who_forked_it_from_the_start(launcher: str, said: bytes) -> None:
    """It does not take the launcher of that process for its own, nor the system for a launcher that is gone."""
    command = [sys.executable, "-c", FORKS.format(launcher=launcher)]
    done = subprocess.run(command, env={**os.environ, **BY_TORCHRUN}, stdout=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (0, said)
