"""Limits on time and memory for code from outside, a chat template for one.

Time is that of the processor, so that a loaded machine gives the same result as an idle one. It is looked at between
two instructions of Python: code from outside has to be kept from a single one that takes for ever (`7 ** 7 ** 7`).
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_STATM = "/proc/self/statm"  # its first number is the process's address space, in pages


class OverLimit(BaseException):
    """A limit was reached; the text says which. It is no `Exception`, which code from outside may catch."""


@contextmanager
def limited(seconds: float, more_bytes: int) -> Iterator[None]:
    """Ends what runs within it when it takes too much.

    Time is limited in the main thread alone, where Python takes signals, and memory where the system tells how much
    there is in use (Linux). Both are as before when it is left.

    Args:
        seconds: Of the processor.
        more_bytes: Of memory, beyond what the process has.

    Raises:
        OverLimit: a limit was reached.
    """
    with _memory(more_bytes), _processor_time(seconds):
        yield


@contextmanager
def _processor_time(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_over = False

    def end(*_: Any) -> None:
        if not is_over:
            raise OverLimit(f"it takes more than {seconds:g} s of a processor")

    before = signal.signal(signal.SIGPROF, end)
    try:
        # Again and again, should the first be lost where Python drops exceptions (in `__del__`).
        signal.setitimer(signal.ITIMER_PROF, seconds, 0.1)
        try:
            yield
        finally:
            is_over = True
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _memory(more_bytes: int) -> Iterator[None]:
    try:
        import resource

        in_use = _address_space()
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = in_use + more_bytes
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([most, *limits]), hard))
    try:
        yield
    except MemoryError:
        raise OverLimit(f"it takes more than {more_bytes >> 20:,} MB of memory") from None
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Bytes of it; read without a buffer, as this is done for every rendering of a template."""
    file = os.open(_STATM, os.O_RDONLY)
    try:
        return int(os.read(file, 64).split()[0]) * os.sysconf("SC_PAGE_SIZE")
    finally:
        os.close(file)
