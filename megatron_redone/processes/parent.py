"""What a worker process owes to the process that started it."""

import os
import signal
import sys
import threading
import time
from multiprocessing import parent_process
from typing import Any

# Noted when the command line is imported, and for a fork before it runs: torch takes seconds to import, in which the
# launcher may be killed. A process that asked afterwards would take the system for its launcher; one that starts so
# late that its launcher is gone already is told by what the system runs.
_numbers = {"own": os.getpid(), "launcher": os.getppid()}
os.register_at_fork(after_in_child=lambda: _numbers.update(own=os.getpid(), launcher=_numbers["own"]))


def die_with_parent() -> None:
    """Ends the process when its parent was killed, lest it write where the next run writes."""
    die_with(parent_process())


def die_with(parent: Any) -> None:
    """Waits for a parent process, as `multiprocessing` or a library like it names it, and ends this one."""
    assert parent is not None, "not a child process"
    parent.join()
    os._exit(1)


def end_with_launcher(seconds: float = 0.5) -> None:
    """Ends this process soon after torchrun was killed: its ranks would go on beside the next run.

    Does nothing in a process that torchrun has not started.

    Args:
        seconds: Between two looks.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        if not _runs_python(_numbers["launcher"]):
            text = "the process that started this rank is no Python program: torchrun was killed while the rank started"
            print(f"redone: {text}; the rank ends", file=sys.stderr, flush=True)
            os._exit(1)
        arguments = (_numbers["launcher"], seconds)
        threading.Thread(target=_watch_parent, args=arguments, name="launcher", daemon=True).start()


def end_launcher() -> None:
    """Asks torchrun to end, which would start the processes of a run again that has ended by itself before its end.

    Does nothing in a process that torchrun has not started.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("LOCAL_RANK") == "0":
        os.kill(os.getppid(), signal.SIGTERM)


def _watch_parent(parent: int, seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(seconds)
    os._exit(1)


def _runs_python(process: int) -> bool:
    """As torchrun does; true too where the system does not tell."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as stream:
            line = stream.read()
    except OSError:
        return True
    return b"python" in line or b"torch" in line


def is_sibling(process: int) -> bool:
    """Whether a process of this machine has the same parent as this one."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as stream:
            return int(stream.read().rpartition(")")[2].split()[1]) == os.getppid()
    except OSError:
        return False
