"""A rank's own work, and who is slow."""

import time

import pytest

from megatron_redone.distributed.heartbeats import Beat
from megatron_redone.training import own_work
from megatron_redone.training.own_work import OwnWork, SlowRanks


def beat(seconds: float) -> Beat:
    return Beat(count=1, step=1, place="read (x.py:1)", waits=False, own_seconds=seconds, host="node1", process=1)


def test_waiting_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(own_work.time, "monotonic", lambda: clock[0])
    own = OwnWork()
    for look in range(100):
        own.look(waits=look % 4 != 0)
    clock[0] += 10.0
    for _ in range(5):
        assert own.seconds == 0.0
        own.add_step()
    assert own.seconds == pytest.approx(0.25 * 10.0 / 5)


def test_a_slow_rank_is_told_of_once() -> None:
    slow = SlowRanks(1.5)
    assert slow.is_due()
    [line] = slow.look({0: beat(1.0), 1: beat(0.9), 2: beat(1.6)})
    assert line.startswith("rank 2 (node1) is slow: 1.60 s of its own work a step, the median rank 1.00 s")
    assert not slow.is_due() and slow.look({0: beat(1.0), 1: beat(1.0), 2: beat(1.6)}) == []


def test_ranks_are_compared_when_all_have_a_figure() -> None:
    slow = SlowRanks(1.5)
    assert slow.look({0: beat(1.0), 1: beat(0.0), 2: beat(9.0)}) == [] and slow.is_due()


@pytest.mark.parametrize("times", [[1.0, 1.4], [0.001, 0.01]])
def test_little_is_not_slow(times: list[float]) -> None:
    assert SlowRanks(1.5).look(dict(enumerate(map(beat, times)))) == []


def test_of_two_ranks_the_slower_one_is_compared_with_the_faster() -> None:
    [line] = SlowRanks(1.5).look({0: beat(2.0), 1: beat(1.0)})
    assert line.startswith("rank 0")


def test_the_clock_is_real() -> None:
    own = OwnWork()
    for _ in range(60):
        own.look(waits=False)
    time.sleep(0.05)
    for _ in range(5):
        own.add_step()
    assert 0.01 <= own.seconds < 1.0
