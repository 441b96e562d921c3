"""Where the elements that a rank holds lie in their full weight."""

from collections.abc import Iterator

from megatron_redone.checkpoint.rectangles import Rectangle, blocks, cut
from megatron_redone.models.shards import Shard


def places(shard: Shard, first: int, last: int, at_once: int) -> Iterator[Rectangle]:
    """Cuts a range of a rank's flattened parameter into rectangles of the full weight, in order; padding is in none.

    Args:
        shard: The parameter.
        first: The first element of the range, as the distributed optimizer gives it to a data-parallel rank.
        last: One past its last.
        at_once: Elements of a rectangle at most, if a row has no more.
    """
    for whole in _whole(shard):
        for rectangle in cut(whole, first, last):
            yield from blocks(rectangle, at_once)


def _whole(shard: Shard) -> Iterator[Rectangle]:
    """Each part of the full weight that lies in one piece here."""
    shape, dim = shard.full_shape, shard.dim or 0
    begin = 0
    for first, last in shard.ranges if shard.dim is not None else [(0, shape[0])]:
        offsets = tuple(first if each == dim else 0 for each in range(len(shape)))
        sizes = tuple(last - first if each == dim else size for each, size in enumerate(shape))
        whole = Rectangle(key=shard.name, full_shape=shape, offsets=offsets, sizes=sizes, first=begin)
        yield whole
        begin += whole.count
