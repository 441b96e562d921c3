"""How fast a run is: tokens and operations a second, utilisation, time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SMOOTHING = 0.2  # weight of the newest report in the time per step, from which the time left is reckoned


class Throughput:
    """Counts the tokens of finished steps against the clock.

    What lies between the steps and is not training (validation, a checkpoint) is left out with `paused`.
    """

    def __init__(
        self,
        *,
        flops_per_token: float,
        devices: int,
        peak_flops: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the clock.

        Args:
            flops_per_token: Operations that training on one token takes.
            devices: Accelerators (or CPU processes) of the whole run.
            peak_flops: Operations a second that one of them can do at most, None where that is not known.
            clock: Seconds; another one in tests.
        """
        self._flops_per_token, self._devices, self._peak_flops = flops_per_token, devices, peak_flops
        self._clock = clock
        self._seconds_per_step: float | None = None
        self._begin()

    def add_step(self, tokens: int) -> None:
        """Counts a finished step and the tokens of its global batch."""
        self._steps += 1
        self._tokens += tokens

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time inside out."""
        start = self._clock()
        yield
        self._start += self._clock() - start

    def report(self, steps_left: int) -> dict[str, float]:
        """Metrics of the steps since the last report, and the time that the rest will take.

        Returns:
            `seconds_per_step`, `tokens_per_second` (whole run), `tflops_per_device` (10^12 a second), `mfu` (a
            fraction; only where the device's peak is known) and `seconds_left`.
        """
        assert self._steps, "nothing to report before the first step"
        seconds = max(self._clock() - self._start, 1e-9)
        per_step = seconds / self._steps
        previous = per_step if self._seconds_per_step is None else self._seconds_per_step
        self._seconds_per_step = previous + _SMOOTHING * (per_step - previous)
        flops_per_device = self._tokens / seconds * self._flops_per_token / self._devices
        metrics = {
            "seconds_per_step": per_step,
            "tokens_per_second": self._tokens / seconds,
            "tflops_per_device": flops_per_device / 1e12,
            "seconds_left": self._seconds_per_step * steps_left,
        }
        if self._peak_flops is not None:
            metrics["mfu"] = flops_per_device / self._peak_flops
        self._begin()
        return metrics

    def _begin(self) -> None:
        self._start = self._clock()
        self._steps = self._tokens = 0
