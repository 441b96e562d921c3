"""An eye on the processes of a pass: whether one of them was killed."""

import logging
import os
import signal
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import multiprocess

from megatron_redone.errors import EXIT_USER_ERROR
from megatron_redone.processes.ordered_pool import worker_was_killed

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
# Wakes the main thread. Not SIGINT: a shell has what it starts in the background ignore that.
_SIGNAL = signal.SIGUSR2
# A pool takes that long to end at most, unless the dead process held one of its locks: then it never would.
_ENDS_WITHIN_S = 10.0


class Watch:
    """While it is entered, ends a pass that would wait for a dead process.

    A pool of processes replaces one that was killed and waits for its task for ever. Every process
    therefore leaves a file with its number while it works on a task; where there is a file and no
    process, somebody killed it, most likely the system for want of memory.
    """

    def __init__(self, running: Path) -> None:
        """Prepares to watch.

        Args:
            running: The folder with a file for each process at work, called by its number.
        """
        self._running = running
        self._found_dead = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._before = signal.signal(_SIGNAL, _interrupt)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        signal.signal(_SIGNAL, self._before)
        if self._found_dead and kind is KeyboardInterrupt:
            raise worker_was_killed() from None

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            if any(not _is_alive(path) for path in self._running.iterdir()):
                self._found_dead = True
                os.kill(os.getpid(), _SIGNAL)  # the main thread waits inside the pool
                if not self._stop.wait(_ENDS_WITHIN_S):
                    log.error("%s", worker_was_killed())
                    for process in multiprocess.active_children():  # type: ignore[attr-defined]
                        process.kill()
                    os._exit(EXIT_USER_ERROR)
                return


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _is_alive(path: Path) -> bool:
    try:
        os.kill(int(path.name), 0)
    except ProcessLookupError:
        return not path.exists()  # it may have ended its task just now
    return True
