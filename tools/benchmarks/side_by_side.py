"""Sides of a comparison that take turns, each in a process of its own: what else the machine does hits all.

A process answers with one JSON object a line: first what it found when it was ready, then the figures of each turn
that it was asked for.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

Figures = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """A process of one side.

    Attributes:
        ready: Its first answer.
        log: What it and its libraries print.
    """

    name: str
    process: subprocess.Popen[str]
    ready: Figures
    log: Path


def start(name: str, command: Sequence[str], threads: int, log: Path) -> Side:
    """Starts a process and waits until it is ready.

    Raises:
        SystemExit: it ended, with the end of what it printed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, *command], stdin=pipe, stdout=pipe, stderr=log.open("w"), text=True, env=environment
    )
    return Side(name, process, _answer(name, process, log), log)


def ask(side: Side) -> Figures:
    """Has a side take one turn."""
    assert side.process.stdin is not None
    side.process.stdin.write("turn\n")
    side.process.stdin.flush()
    figures = _answer(side.name, side.process, side.log)
    print(f"{side.name}: {figures}", file=sys.stderr)
    return figures


def stop(side: Side) -> None:
    """Lets a side end, and waits for it."""
    side.process.communicate()


def take_turns(sides: Sequence[Side], turns: int, warmup: int) -> dict[str, list[Figures]]:
    """The figures of each side's turns, after those that warm up."""
    figures: dict[str, list[Figures]] = {side.name: [] for side in sides}
    for number in range(warmup + turns):
        # Who goes first changes, so that none always runs on the other's leftovers.
        for side in sides if number % 2 else reversed(sides):
            figures[side.name].append(ask(side))
    return {name: answers[warmup:] for name, answers in figures.items()}


def _answer(name: str, process: subprocess.Popen[str], log: Path) -> Figures:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        raise SystemExit(f"{name} ended with status {process.returncode}:\n{log.read_text()[-3000:]}")
    return json.loads(line)


def open_channel() -> TextIO:
    """In a side's process: where answers go. What libraries print to stdout goes to stderr from now on."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return channel


def answer(channel: TextIO, figures: Mapping[str, Any]) -> None:
    """Sends figures, and the peak of this process's memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**figures, "peak_mb": peak}), file=channel, flush=True)


def asked() -> bool:
    """Waits until a turn is asked for; False where none will be."""
    return bool(sys.stdin.readline())


class Stopwatch:
    """Wall and CPU seconds since it was made; other processes hardly change the latter."""

    def __init__(self) -> None:
        """Starts."""
        self._begin, self._cpu_begin = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """`seconds` and `cpu_seconds`."""
        return {"seconds": time.perf_counter() - self._begin, "cpu_seconds": time.process_time() - self._cpu_begin}


def turns() -> Iterator[None]:
    """One item for every turn that is asked for."""
    while asked():
        yield None
