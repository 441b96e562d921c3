"""What takes too much is ended, and afterwards everything is as before."""

import resource
import signal
import threading
import time
from contextlib import suppress

import pytest

from megatron_redone.processes.limits import OverLimit, limited

PLENTY = 1 << 30


def state() -> tuple[object, ...]:
    return (
        signal.getsignal(signal.SIGPROF),
        signal.getitimer(signal.ITIMER_PROF),
        resource.getrlimit(resource.RLIMIT_AS),
    )


def test_a_loop_without_end_is_ended_though_exceptions_are_caught_in_it() -> None:
    before, started = state(), time.process_time()
    with pytest.raises(OverLimit, match=r"more than 0\.1 s of a processor"), limited(0.1, PLENTY):
        while True:
            with suppress(Exception):
                sum(range(1000))
    assert 0.05 < time.process_time() - started < 2 and state() == before


def test_waiting_takes_no_processor() -> None:
    with limited(0.05, PLENTY):
        time.sleep(0.3)


def test_memory_is_limited_and_free_again() -> None:
    before = state()
    with limited(60, PLENTY):
        bytes(PLENTY // 2)
    with pytest.raises(OverLimit, match="more than 64 MB of memory"), limited(60, 64 << 20):
        bytes(256 << 20)
    assert state() == before and len(bytes(256 << 20)) == 256 << 20


def test_an_error_passes_and_takes_the_limits_away() -> None:
    before = state()
    with pytest.raises(KeyError), limited(60, PLENTY):
        {}["x"]
    assert state() == before


def test_another_thread_has_no_limit_of_time() -> None:
    found: list[int] = []

    def work() -> None:
        with limited(0.01, PLENTY):
            found.append(sum(range(3_000_000)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [sum(range(3_000_000))]
