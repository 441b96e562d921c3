"""Turns a signal into a request to stop after the step that is running.

That step becomes the run's last one, which is saved; the run then exits with 143, unless it was complete.
"""

import signal
from types import FrameType, TracebackType
from typing import Any

from megatron_redone.distributed.collectives import largest
from megatron_redone.errors import exit_code_of_signal

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# How a run exits that was stopped before its last step, whichever signal came to whichever rank.
EXIT_STOPPED = exit_code_of_signal(signal.SIGTERM)


class StopRequest:
    """Listens for SIGTERM and SIGINT while it is entered; a second signal acts as if nobody listened.

    Attributes:
        signal_number: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, Any] = {}

    def agreed(self) -> bool:
        """Whether a signal has come to any rank; the same on every rank. For all ranks."""
        return bool(largest(int(self.signal_number is not None)))

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._restore()

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
