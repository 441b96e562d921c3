"""How tests run a command: in this process, or as a process of its own.

`main` is the quick way, for what a command says and writes. `redone` is for what only a process shows: signals, exit
codes as a shell sees them, start-up, the environment.
"""

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """What came of a command that ran in this process; the names are those of `subprocess.CompletedProcess`."""

    returncode: int | str | None
    stdout: str
    stderr: str


def main(*arguments: str) -> Done:
    """`redone ARGUMENTS` in this process; what it logs, prints and exits with is caught."""
    from megatron_redone.cli import main

    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), _no_log_handlers():
        try:
            code: int | str | None = main(list(arguments))
        except SystemExit as stop:
            code = stop.code
    return Done(code, output.getvalue(), errors.getvalue())


def redone(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`redone ARGUMENTS` as a process, to its end; `environment` is added to this one's."""
    return to_its_end(command(*arguments), **environment)


def command(*arguments: str) -> list[str]:
    """The words of `redone ARGUMENTS` as a process."""
    return [sys.executable, "-m", "megatron_redone", *arguments]


def under_torchrun(ranks: int, *arguments: str) -> list[str]:
    """The words of `redone ARGUMENTS` as a process for each rank."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return [sys.executable, *launcher, "-m", "megatron_redone", *arguments]


def to_its_end(words: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a process; one that takes five minutes hangs, and fails the test."""
    return subprocess.run(words, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})


@contextlib.contextmanager
def _no_log_handlers() -> Iterator[None]:
    """The command line sets up logging where nobody has: not pytest, and no earlier run, which wrote elsewhere."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        yield
    finally:
        root.handlers = before
