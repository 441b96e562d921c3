"""A signal to any rank ends all after the same step, and the handlers of before come back."""

import os
import signal
import time

import pytest

from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import start_context
from megatron_redone.training import stop_request
from megatron_redone.training.stop_request import StopRequest
from tests.helpers.ranks import run_on_ranks


def agree(signalled_rank: int) -> list[bool]:
    context = start_context(ParallelConfig(), Device.cpu)
    with StopRequest() as stop:
        before = stop.agreed()
        if context.rank == signalled_rank:
            os.kill(os.getpid(), signal.SIGTERM)
        return [before, stop.agreed()]


def test_one_rank_is_enough() -> None:
    assert run_on_ranks(2, agree, 1) == [[False, True]] * 2
    assert run_on_ranks(2, agree, 5) == [[False, False]] * 2


def agree_on_a_reason(signalled: dict[int, int], late_rank: int) -> tuple[bool, bool]:
    context = start_context(ParallelConfig(), Device.cpu)
    with StopRequest(time.monotonic() if context.rank == late_rank else None) as stop:
        if context.rank in signalled:
            os.kill(os.getpid(), signalled[context.rank])
        return stop.agreed(), stop.is_unknown_to_launcher


def test_time_and_a_signal_that_the_launcher_does_not_pass_on_are_told_from_those_that_it_does() -> None:
    assert run_on_ranks(2, agree_on_a_reason, {}, 1) == [(True, True)] * 2, "the time of one rank is over"
    assert run_on_ranks(2, agree_on_a_reason, {0: signal.SIGUSR1}, -1) == [(True, True)] * 2
    assert run_on_ranks(2, agree_on_a_reason, {0: signal.SIGTERM}, 1) == [(True, False)] * 2
    assert run_on_ranks(2, agree_on_a_reason, {}, -1) == [(False, False)] * 2


def test_one_stop_may_signal_a_rank_twice_and_a_later_one_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with StopRequest() as stop:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
            assert stop.signal_number == signal.SIGTERM and not came
            monkeypatch.setattr(stop_request, "_ONE_STOP_S", 0.0)
            os.kill(os.getpid(), signal.SIGTERM)
            assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_handlers_come_back_at_the_end_and_after_the_first_ctrl_c() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGINT) not in handlers
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.agreed() and stop.signal_number == signal.SIGINT
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == handlers
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == handlers
