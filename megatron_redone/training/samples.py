"""Which samples of the training blend a step reads."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SampleRange:
    """Samples in a row.

    Attributes:
        first: Counted from 0, over all ranks and epochs.
        last: The last one, itself included.
    """

    first: int
    last: int

    def meets_any(self, ranges: Sequence[Sequence[int]]) -> bool:
        """Whether it shares a sample with one of the ranges, each given as its first and last sample."""
        return any(self.first <= last and first <= self.last for first, last in ranges)
