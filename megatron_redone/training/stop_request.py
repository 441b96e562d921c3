"""Turns a signal, or the end of the run's time, into a request to stop after the step that is running.

That step becomes the run's last one, which is saved; the run then exits with 143, unless it was complete.
"""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

from megatron_redone.distributed.collectives import largest
from megatron_redone.errors import exit_code_of_signal

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# How a run exits that was stopped before its last step, whichever signal came to whichever rank.
EXIT_STOPPED = exit_code_of_signal(signal.SIGTERM)
# Reasons in the order in which they count. Launchers pass SIGTERM and SIGINT on, which they know of themselves.
_BY_ITSELF, _BY_LAUNCHER = 1, 2
_ONE_STOP_S = 5.0


class StopRequest:
    """Listens for SIGTERM, SIGINT and SIGUSR1 while it is entered; a second signal acts as if nobody listened.

    A scheduler that signals every process of a job, torchrun too, has a rank signalled twice for one stop: once by
    itself, once by torchrun. What comes within seconds of the first counts as the same, but for Ctrl-C.

    Attributes:
        signal_number: The signal that came, or None.
        is_unknown_to_launcher: Whether all stop for a reason that torchrun has not been told of: it would start the
            processes again.
    """

    def __init__(self, deadline: float | None = None) -> None:
        """Takes the time (of `time.monotonic`) at which the run is to end; None gives it all the time."""
        self.signal_number: int | None = None
        self.is_unknown_to_launcher = False
        self._deadline = deadline
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def agreed(self) -> bool:
        """Whether a signal has come to any rank, or its time is over; the same on every rank. For all ranks."""
        found = largest(self._reason())
        self.is_unknown_to_launcher = found == _BY_ITSELF
        return bool(found)

    def _reason(self) -> int:
        if self.signal_number in (signal.SIGTERM, signal.SIGINT):
            return _BY_LAUNCHER
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        return _BY_ITSELF if is_late or self.signal_number is not None else 0

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._restore()

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number, self._since = number, time.monotonic()
            if number == signal.SIGINT:
                self._restore()
        elif time.monotonic() - self._since >= _ONE_STOP_S:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
