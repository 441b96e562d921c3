"""How long a rank works at a step itself, and which ranks take longer than the others.

A step takes as long on every rank: the fast ones wait for the slow one. A look every tenth of a second at where the
main thread is tells waiting from working. With NCCL the host waits for its own device rather than for another rank, so
that on GPUs only work of the host is seen: reading, collating, launching.
"""

import statistics
import time
from collections.abc import Mapping

from megatron_redone.distributed.heartbeats import Beat

_STEPS = 5  # at least, between two figures
_LOOKS = 50
_MINUTES = 1.0  # between two looks at the others
_AGAIN = 10.0  # minutes until the same rank is told of again
_LEAST = 0.05  # seconds by which a step must be longer


class OwnWork:
    """Gathers looks; a figure comes when there are enough.

    Attributes:
        seconds: Of own work a step, lately; 0 before the first figure.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begin()

    def look(self, waits: bool) -> None:
        """Counts a look at the main thread."""
        self._looks += 1
        self._waits += waits

    def add_step(self) -> None:
        """Counts a step."""
        self._steps += 1
        if self._steps >= _STEPS and self._looks >= _LOOKS:
            working = 1 - self._waits / self._looks
            self.seconds = working * (time.monotonic() - self._start) / self._steps
            self._begin()

    def _begin(self) -> None:
        self._start, self._steps, self._looks, self._waits = time.monotonic(), 0, 0, 0


class SlowRanks:
    """Compares the ranks, once a minute."""

    def __init__(self, factor: float) -> None:
        """Takes how many times the median's time is slow."""
        self._factor, self._next = factor, time.monotonic()
        self._told: dict[int, float] = {}

    def is_due(self) -> bool:
        """Whether it is time for a look."""
        return time.monotonic() >= self._next

    def look(self, beats: Mapping[int, Beat]) -> list[str]:
        """A line for each rank that is slow and was not told of lately."""
        if any(not beat.own_seconds for beat in beats.values()):
            return []
        self._next = time.monotonic() + 60 * _MINUTES
        median = statistics.median_low([beat.own_seconds for beat in beats.values()])
        lines = []
        for rank, beat in beats.items():
            is_slow = beat.own_seconds > max(self._factor * median, median + _LEAST)
            if is_slow and self._told.get(rank, 0.0) < time.monotonic():
                self._told[rank] = time.monotonic() + 60 * _AGAIN
                lines.append(
                    f"rank {rank} ({beat.host}) is slow: {beat.own_seconds:.2f} s of its own work a step, the median "
                    f"rank {median:.2f} s; it is in {beat.place}"
                )
        return lines
