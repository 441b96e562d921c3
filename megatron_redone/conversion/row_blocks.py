"""Cuts matrices into blocks that need little memory."""

from collections.abc import Iterator
from math import prod

_NUMBERS = 16 * 2**20  # of one block: 32 MB in bf16


def row_blocks(start: int, stop: int, columns: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """First and one-past-last row of each block of the rows `start` to `stop`."""
    step = max(1, _NUMBERS // prod(columns))
    for first in range(start, stop, step):
        yield first, min(first + step, stop)
