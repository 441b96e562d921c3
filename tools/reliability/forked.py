"""Commands of `redone` in forks of a process that has everything imported: a trial costs no start-up."""

import contextlib
import gc
import importlib
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import megatron_redone
from megatron_redone.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Of the process; negative where a signal ended it, None where it hung.
        said: What it wrote.
    """

    code: int | None
    said: str


def preload() -> None:
    """Imports all of the package, so that forks have it; starts no thread."""
    import warnings

    import torch

    warnings.filterwarnings("ignore", module="megatron")
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(megatron_redone.__path__, "megatron_redone."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # an extra that is not installed
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy what it looks at


def redone(arguments: list[str], log: Path, timeout: float = 300.0) -> Ended:
    """`redone ARGUMENTS` in a fork, to its end."""
    return wait(start(lambda: main(arguments), log), log, timeout)


def wait(process: int, log: Path, timeout: float) -> Ended:
    """Waits for a fork's end; one that takes too long is killed."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return Ended(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"))
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return Ended(None, log.read_text(errors="replace"))


def start(function: Callable[[], int | None], log: Path, environment: Mapping[str, str] | None = None) -> int:
    """Forks a process that calls a function and ends with what it answers; its id.

    Args:
        function: What it does.
        log: The file that takes what it writes.
        environment: Added to this process's.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code: object = 1
    try:
        os.environ.update(environment or {})
        with open(log, "ab", buffering=0) as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        code = function()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
