"""Metrics against a clock that the test turns."""

import pytest

from megatron_redone.metrics.throughput import Throughput


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_tokens_operations_and_time_left() -> None:
    clock = Clock()
    throughput = Throughput(flops_per_token=1e9, devices=4, peak_flops=1e12, clock=clock)
    for _ in range(2):
        clock.now += 5
        throughput.add_step(8000)
    with throughput.paused():
        clock.now += 1000
    assert throughput.report(steps_left=30) == pytest.approx(
        {
            "seconds_per_step": 5,
            "tokens_per_second": 1600,
            "tflops_per_device": 0.4,
            "mfu": 0.4,
            "seconds_left": 150,
        }
    )
    # Only the steps since then count, and the time left moves a fifth of the way.
    clock.now += 10
    throughput.add_step(8000)
    figures = throughput.report(steps_left=10)
    assert (figures["tokens_per_second"], figures["seconds_left"]) == pytest.approx((800, 60))


def test_without_a_known_peak_there_is_no_utilisation() -> None:
    clock = Clock()
    throughput = Throughput(flops_per_token=1, devices=1, clock=clock)
    throughput.add_step(1)
    assert "mfu" not in throughput.report(0)
