"""Where the elements that a rank holds lie in their full weight."""

from collections.abc import Iterator

from megatron_redone.models.random_bits import Rectangle
from megatron_redone.models.shards import Shard


def rectangles(shard: Shard, first: int, last: int, at_once: int) -> Iterator[tuple[int, Rectangle]]:
    """Cuts a range of a rank's flattened parameter into rectangles of the full weight.

    Args:
        shard: The parameter.
        first: The first element of the range, as the distributed optimizer gives it to a data-parallel rank.
        last: One past its last.
        at_once: Elements of a rectangle, if a row has no more.

    Yields:
        The first element of each, counted from `first`, and the rectangle, whose elements follow row by row. Padding is
        in none.
    """
    width = (*shard.full_shape, 1)[1]
    left, right = shard.ranges[0] if shard.dim == 1 else (0, width)
    columns = right - left
    for start, row, rows in _row_spans(shard):
        begin, end = max(first, start * columns), min(last, (start + rows) * columns)
        while begin < end:
            above, before = divmod(begin - start * columns, columns)
            height = 1 if before else max(min(at_once, end - begin) // columns, 1)
            until = min(columns, before + end - begin)
            found = Rectangle(
                first_row=row + above,
                last_row=row + above + height,
                first_column=left + before,
                last_column=left + until,
                width=width,
            )
            yield begin - first, found
            begin += height * (until - before)


def _row_spans(shard: Shard) -> Iterator[tuple[int, int, int]]:
    """The first row here, the first row of the full weight, and how many follow, of each part."""
    start = 0
    for first, last in shard.ranges if shard.dim == 0 else [(0, shard.full_shape[0])]:
        yield start, first, last - first
        start += last - first
