"""An eye on the processes of a pass: how far they are, and whether one of them was killed."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from megatron_redone.errors import UserError

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_LOG_EVERY_S = 30.0


class Watch:
    """While it is entered, logs progress, and ends a pass that would wait for a dead process.

    A pool of processes replaces one that was killed and waits for its task for ever. Every process
    therefore leaves a file with its number while it works on a task; where there is a file and no
    process, somebody killed it, most likely the system for want of memory.
    """

    def __init__(self, name: str, running: Path, done: Callable[[], int], tasks: int) -> None:
        """Prepares to watch.

        Args:
            name: Of the pass.
            running: The folder with a file for each process at work, called by its number.
            done: How many tasks have ended.
            tasks: How many there are.
        """
        self._name = name
        self._running = running
        self._done = done
        self._tasks = tasks
        self._found_dead = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._found_dead and kind is KeyboardInterrupt:
            raise UserError(
                "a process was killed, perhaps for want of memory; run the same command again, it goes on where it "
                "was (fewer workers, or more tasks, need less memory)"
            ) from None

    def _look(self) -> None:
        logged = time.monotonic()
        while not self._stop.wait(_LOOK_EVERY_S):
            if any(not _is_alive(path) for path in self._running.iterdir()):
                self._found_dead = True
                os.kill(os.getpid(), signal.SIGINT)  # the main thread waits inside the pool
                return
            if time.monotonic() - logged >= _LOG_EVERY_S:
                logged = time.monotonic()
                log.info("%s: %d of %d tasks done", self._name, self._done(), self._tasks)


def _is_alive(path: Path) -> bool:
    try:
        os.kill(int(path.name), 0)
    except ProcessLookupError:
        return not path.exists()  # it may have ended its task just now
    return True
