"""Work goes to processes and comes back in order; what goes wrong there is told."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from megatron_redone.errors import UserError
from megatron_redone.processes.ordered_pool import OrderedPool


def build(offset: int) -> Callable[[int], int]:
    """A worker that takes longer for the first of its work, fails for 13 and dies for 99."""

    def work(number: int) -> int:
        if number == 13:
            raise UserError("thirteen is not worked on")
        if number == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05 if number < 3 else 0)
        return number + offset

    return work


def test_results_come_in_the_order_of_the_work() -> None:
    with OrderedPool[int, int](2, build, 100) as pool:
        assert list(pool.map(range(12))) == [(number, number + 100) for number in range(12)]
    with OrderedPool[int, int](1, build, 100) as here:
        assert list(here.map(range(12))) == [(number, number + 100) for number in range(12)]


@pytest.mark.parametrize(("number", "message"), [(13, "thirteen is not worked on"), (99, "process was killed")])
def test_an_error_and_a_killed_process_are_told(number: int, message: str) -> None:
    with pytest.raises(UserError, match=message), OrderedPool[int, int](2, build, 0) as pool:
        list(pool.map([number]))
