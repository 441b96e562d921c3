"""Which rectangles of full tensors the elements of a rank's parameter are.

A rank of the distributed optimizer holds a range of a flattened parameter. In the full tensor that is a piece
of a row, whole rows, and a piece of a row: at most three rectangles of a matrix, one of a vector. Rectangles are what
torch's distributed checkpoint calls chunks, and any layout can read its own out of those that another has written.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """A rectangle of a full tensor, whose elements follow each other in a rank's parameter.

    Attributes:
        key: Of the full tensor.
        full_shape: Of the full tensor.
        offsets: Of its first element in the full tensor.
        sizes: Of the rectangle.
        first: Of its elements, in the flattened parameter.
        is_padded: Whether the rows of the full tensor are as many as the layout wants: those past the end are padding.
    """

    key: str
    full_shape: tuple[int, ...]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    first: int = 0
    is_padded: bool = False

    @property
    def count(self) -> int:
        """Its elements."""
        return math.prod(self.sizes)


def rectangles_of(sharded: ShardedTensor | ShardedTensorFactory) -> tuple[Rectangle, ...]:
    """The rectangles of which a parameter consists: two where gate and up lie in one, else one."""
    if isinstance(sharded, ShardedTensor):
        return (_rectangle(sharded, 0),)
    # A factory cuts views out of what it is given; from a tensor without memory it can be seen where they begin.
    stand_in = torch.empty(sharded.data.shape, device="meta")
    parts = list(nested_values(dataclasses.replace(sharded, data=stand_in).build()))
    assert all(part.data.is_contiguous() for part in parts), f"{sharded.key}: its parts are not ranges of its elements"
    return tuple(_rectangle(part, part.data.storage_offset()) for part in parts)


def _rectangle(sharded: ShardedTensor, first: int) -> Rectangle:
    return Rectangle(
        key=sharded.key,
        full_shape=tuple(sharded.global_shape),
        offsets=tuple(sharded.global_offset),
        sizes=(1,) * sharded.prepend_axis_num + tuple(sharded.local_shape),
        first=first,
        is_padded=sharded.allow_shape_mismatch,
    )


def cut(rectangle: Rectangle, first: int, last: int) -> Iterator[Rectangle]:
    """The rectangles of those of its elements that lie in a range of the flattened parameter."""
    begin, end = max(first - rectangle.first, 0), min(last - rectangle.first, rectangle.count)
    if begin < end:
        yield from _in_order(rectangle, _pieces(rectangle.sizes, begin, end), rectangle.first + begin)


def blocks(rectangle: Rectangle, elements: int) -> Iterator[Rectangle]:
    """Cuts it along its first dimension of more than one, into blocks of at most so many elements or of one row."""
    dim = next((dim for dim, size in enumerate(rectangle.sizes) if size > 1), 0)
    row = math.prod(rectangle.sizes[dim + 1 :])
    step = max(1, elements // max(row, 1))
    starts = range(0, rectangle.sizes[dim], step)
    spans = ((start, min(step, rectangle.sizes[dim] - start)) for start in starts)
    pieces = ((_put((0,) * len(rectangle.sizes), dim, a), _put(rectangle.sizes, dim, n)) for a, n in spans)
    yield from _in_order(rectangle, pieces, rectangle.first)


def overlap(one: Rectangle, offsets: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[tuple[slice, ...], ...] | None:
    """Where a rectangle meets another of the same tensor: slices of the first and of the other; None for nowhere."""
    begins = [max(a, b) for a, b in zip(one.offsets, offsets, strict=True)]
    ends = [min(a + n, b + m) for a, n, b, m in zip(one.offsets, one.sizes, offsets, sizes, strict=True)]
    if any(begin >= end for begin, end in zip(begins, ends, strict=True)):
        return None
    return tuple(
        tuple(slice(begin - at, end - at) for begin, end, at in zip(begins, ends, corner, strict=True))
        for corner in (one.offsets, offsets)
    )


def _pieces(sizes: tuple[int, ...], begin: int, end: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Offsets and sizes of the rectangles that the elements `begin` to `end` of a row-major tensor make, in order."""
    if len(sizes) == 1:
        yield (begin,), (end - begin,)
        return
    row_elements = math.prod(sizes[1:])
    (row, within), (last_row, rest) = divmod(begin, row_elements), divmod(end, row_elements)
    if row == last_row:
        yield from _in_row(row, sizes, within, rest)
        return
    if within:
        yield from _in_row(row, sizes, within, row_elements)
        row += 1
    if row < last_row:
        yield (row, *(0 for _ in sizes[1:])), (last_row - row, *sizes[1:])
    if rest:
        yield from _in_row(last_row, sizes, 0, rest)


def _in_row(
    row: int, sizes: tuple[int, ...], begin: int, end: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    for offsets, found in _pieces(sizes[1:], begin, end):
        yield (row, *offsets), (1, *found)


def _in_order(
    whole: Rectangle, pieces: Iterator[tuple[tuple[int, ...], tuple[int, ...]]], first: int
) -> Iterator[Rectangle]:
    """Rectangles of a whole one, whose elements follow each other from `first` on."""
    for offsets, sizes in pieces:
        corner = tuple(a + b for a, b in zip(whole.offsets, offsets, strict=True))
        piece = dataclasses.replace(whole, offsets=corner, sizes=sizes, first=first)
        yield piece
        first += piece.count


def _put(values: tuple[int, ...], dim: int, value: int) -> tuple[int, ...]:
    return (*values[:dim], value, *values[dim + 1 :])
