"""The line that a person watches a run by: aligned, and readable."""

import io

import pytest

from megatron_redone.metrics.progress import ConsoleTracker, duration, progress_line, scaled


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (245, "4:05"), (3845, "1:04:05"), (176_645, "2d 01:04")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (987, "987"), (999.7, "1.00k"), (12_345, "12.3k"), (123_456, "123k"), (4.56e6, "4.56M"), (5e13, "50T")],
)
def test_scaled_numbers(number: float, text: str) -> None:
    assert scaled(number) == text


def test_lines_are_aligned_and_readable() -> None:
    metrics = {
        "loss": 11.9312,
        "grad_norm": 120.5,
        "learning_rate": 3e-6,
        "tokens_per_second": 987.0,
        "tflops_per_device": 0.5,
        "mfu": 0.052,
        "memory_gb": 9.5,
        "seconds_left": 90_000.0,
        "seconds_per_step": 3.0,
        "reward_margin": 0.25,
    }
    later = metrics | {"loss": 2.1, "grad_norm": 0.5, "tokens_per_second": 1.2e6, "mfu": 0.41, "memory_gb": 78.0}
    later |= {"seconds_left": 59.0}
    lines = [progress_line(9, 5000, metrics), progress_line(4999, 5000, later)]
    assert lines == [
        "step    9/5000  loss 11.9312  grad norm  120.500  lr 3.00e-06    987 tokens/s   5.2% MFU    9.5 GB"
        "  1d 01:00 left  reward_margin 0.25",
        "step 4999/5000  loss  2.1000  grad norm    0.500  lr 3.00e-06  1.20M tokens/s  41.0% MFU   78.0 GB"
        "      0:59 left  reward_margin 0.25",
    ]
    without_peak = progress_line(1, 5, {"loss": 1.0, "tflops_per_device": 0.0123})
    assert without_peak == "step 1/5  loss  1.0000  12.3 GFLOP/s"


def test_validation_stands_alone_on_the_console() -> None:
    stream = io.StringIO()
    console = ConsoleTracker(stream, 20)
    console.log(10, {"validation/zh/loss": 2.5, "validation/en/loss": 3.0})
    console.close()
    assert stream.getvalue() == "step 10/20  validation  zh/loss 2.5000  en/loss 3.0000\n"
