"""A signal to any rank ends all after the same step, and the handlers of before come back."""

import os
import signal

from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import start_context
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


def test_handlers_come_back_at_the_end_and_after_the_first_signal() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGINT) not in handlers
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.agreed() and stop.signal_number == signal.SIGINT
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
