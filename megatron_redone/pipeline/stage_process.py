"""One stage of a pipeline as a process: its command, its log, and how signals and its end are passed on."""

import contextlib
import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from megatron_redone.config.pipeline import PipelineEntry

_POLL_S = 0.2
# After a second signal, until the stage is ended by force.
_GRACE_S = 10.0
# Seconds that torchrun leaves its processes to save a checkpoint; its own default of 30 is short for a large one.
_SHUTDOWN_S = "600"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# As the command line tells it, and as one of several ranks does.
_OWN = re.compile(r"redone( [\w-]+)?: (?P<text>.*)")
# What torchrun says of a failure is not what went wrong.
_LAUNCHER = re.compile(r"torch\.distributed\.elastic|ChildFailedError|^[EWI]\d{4} ")
_EXCEPTION = re.compile(r"^(\[rank\d+\]: ?)?[\w.]*(Error|Exception|Interrupt|Killed)\b.*")


def stage_command(entry: PipelineEntry, file: Path | None, overrides: list[str], config_dir: Path) -> list[str]:
    """The command line of a stage."""
    if entry.launcher is not None:
        start = [word.replace("{config_dir}", str(config_dir)) for word in shlex.split(entry.launcher)]
    elif entry.processes > 1:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        start = [*torchrun, f"--nproc-per-node={entry.processes}", "-m", "megatron_redone"]
    else:
        start = [sys.executable, "-m", "megatron_redone"]
    config = [] if file is None else ["--config", str(file)]
    return [*start, entry.stage, *config, *overrides]


@dataclass(frozen=True)
class Ending:
    """How a stage ended.

    Attributes:
        code: Its exit code; below zero for a signal.
        signal_number: The signal that came to this process and was passed on, or None.
    """

    code: int
    signal_number: int | None


def run_stage(
    command: list[str], work_dir: Path, log: Path, processes: int, lock: int, look: Callable[[], None]
) -> Ending:
    """Runs a stage to its end.

    SIGINT and SIGTERM are passed on to it, whose way it is to end cleanly; the second one ends it by force. It is
    told to end as well should this process be killed.

    Args:
        command: To run.
        work_dir: Where.
        log: What its output is appended to.
        processes: That share this machine's cores.
        lock: A descriptor that it inherits, and holds open until its end.
        look: Called several times a second.
    """
    with open(log, "ab") as stream, _passed_on() as signals:
        process = subprocess.Popen(
            command,
            cwd=work_dir,
            env=_environment(processes),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            start_new_session=True,  # the terminal's Ctrl-C comes to it once, by us
            preexec_fn=_end_with_parent,
        )
        passed_on = 0
        while process.poll() is None:
            if len(signals) > passed_on:
                passed_on = len(signals)
                process.send_signal(signals[-1])
                if passed_on > 1:
                    _end_by_force(process)
            look()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
    return Ending(process.returncode, signals[0] if signals else None)


def _environment(processes: int) -> dict[str, str]:
    threads = max(1, (os.cpu_count() or 1) // processes)
    shared = {"OMP_NUM_THREADS": str(threads)} if processes > 1 else {}
    # What is set outside counts.
    return {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": _SHUTDOWN_S, "PYTHONUNBUFFERED": "1", **shared, **os.environ}


@contextmanager
def _passed_on() -> Iterator[list[int]]:
    """Collects the signals that ask for an end, instead of ending."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda got, _: received.append(got)) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _end_by_force(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def _end_with_parent() -> None:
    """In the new process: ask the kernel for SIGTERM when the parent dies. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class LogTail:
    """Reads what a stage has added to its log."""

    def __init__(self, path: Path) -> None:
        """Begins at the end of what is there."""
        self._path = path
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = b""
        self.lines: list[str] = []

    def read(self) -> list[str]:
        """The lines that have come since the last call; all of them are kept in `lines`, the last thousand."""
        if not self._path.exists():
            return []
        with open(self._path, "rb") as stream:
            stream.seek(self._position)
            data = stream.read()
        self._position += len(data)
        *whole, self._rest = re.split(rb"[\r\n]+", self._rest + data)
        new = [text for line in whole if (text := line.decode("utf-8", "replace").rstrip())]
        self.lines = [*self.lines, *new][-1000:]
        return new


def own_error(lines: Sequence[str]) -> str | None:
    """What a stage told of a user's mistake."""
    matches = (_OWN.match(line) for line in reversed(lines))
    return next((match["text"] for match in matches if match is not None), None)


def last_error(lines: Sequence[str]) -> str | None:
    """The last exception of a log, else its last line; not torchrun's, which tells only that there was one."""
    told = [line for line in lines if not _LAUNCHER.search(line)]
    exceptions = [line for line in told if _EXCEPTION.match(line)]
    return next(reversed(exceptions or told), None)


def wait_while(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits as long as a condition holds, at most so long; returns whether it still does."""
    deadline = time.monotonic() + seconds
    while condition():
        if time.monotonic() > deadline:
            return True
        time.sleep(_POLL_S)
    return False
