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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
    logging.getLogger().handlers.clear()  # of an earlier run in this process, which wrote elsewhere
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code: int | str | None = main(list(arguments))
        except SystemExit as stop:
            code = stop.code
    return Done(code, output.getvalue(), errors.getvalue())


def command(*arguments: str) -> list[str]:
    """The words of `redone ARGUMENTS` as a process."""
    return [sys.executable, "-m", "megatron_redone", *arguments]


def redone(*arguments: str, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """`redone ARGUMENTS` as a process, to its end; `environment` is added to this one's."""
    return script(*command(*arguments)[1:], timeout=timeout, **environment)


def script(*arguments: str, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in the repository's root, to its end; `environment` is added to this one's."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=timeout, cwd=ROOT,
        env={**os.environ, **environment},
    )  # fmt: skip
