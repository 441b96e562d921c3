"""SIGTERM, which batch systems send, ends work as Ctrl-C does: cleanly, with its processes and partial files."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from megatron_redone.errors import exit_code_of_signal

log = logging.getLogger(__name__)


@contextmanager
def clean_end_on_sigterm() -> Iterator[None]:
    """While it is entered, SIGTERM raises SystemExit in the main thread.

    Nothing changes in another thread, where Python takes no handlers, or where somebody else handles the signal.
    """
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if not is_ours:
        yield
        return
    signal.signal(signal.SIGTERM, _ender(os.getpid()))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _ender(process: int) -> Callable[..., None]:
    def end(*_: Any) -> None:
        if os.getpid() != process:  # a fork that has inherited this ends as if nobody listened
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        log.error("ended by SIGTERM; the same command goes on where it was")
        raise SystemExit(exit_code_of_signal(signal.SIGTERM))

    return end
