"""A range of a flattened tensor as rectangles of it; numbering all elements is the oracle."""

import itertools

import pytest
import torch
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from megatron.core.transformer.mlp import apply_swiglu_sharded_factory

from megatron_redone.checkpoint.rectangles import Rectangle, blocks, cut, overlap, rectangles_of


def whole(*sizes: int) -> Rectangle:
    return Rectangle(key="weight", full_shape=sizes, offsets=(0,) * len(sizes), sizes=sizes)


def elements(rectangle: Rectangle) -> torch.Tensor:
    """Numbers of its elements in the full tensor, in order."""
    numbers = torch.arange(torch.Size(rectangle.full_shape).numel()).view(rectangle.full_shape)
    spans = zip(rectangle.offsets, rectangle.sizes, strict=True)
    return numbers[tuple(slice(at, at + size) for at, size in spans)].flatten()


@pytest.mark.parametrize("sizes", [(7,), (5, 3), (1, 4, 5), (3, 2, 4), (1, 1, 3), (4, 1)])
def test_every_range_is_covered_in_order_by_few_rectangles(sizes: tuple[int, ...]) -> None:
    count = torch.Size(sizes).numel()
    most = 2 * len([size for size in sizes if size > 1]) - 1
    for first, last in itertools.combinations(range(count + 1), 2):
        pieces = list(cut(whole(*sizes), first, last))
        assert torch.equal(torch.cat([elements(piece) for piece in pieces]), torch.arange(first, last))
        assert [piece.first for piece in pieces] == list(
            itertools.accumulate([piece.count for piece in pieces[:-1]], initial=first)
        )
        assert len(pieces) <= most


def test_a_range_beside_it_has_no_part_of_it() -> None:
    assert not list(cut(whole(2, 3), 6, 9))
    [piece] = cut(whole(2, 3), 5, 9)
    assert (piece.offsets, piece.sizes, piece.first) == ((1, 2), (1, 1), 5)


@pytest.mark.parametrize("elements_each", [1, 3, 4, 100])
def test_blocks_are_whole_rows_and_all_of_them(elements_each: int) -> None:
    [rectangle] = cut(whole(2, 5, 3), 15, 30)
    found = list(blocks(rectangle, elements_each))
    assert torch.equal(torch.cat([elements(block) for block in found]), torch.arange(15, 30))
    assert all(block.count <= max(elements_each, 3) for block in found)


def test_gate_and_up_are_two_rectangles_and_a_layer_is_a_row_of_its_stack() -> None:
    """On tensor-parallel rank 1 of 2, layer 2 of 4."""
    weight = torch.empty(6, 5)
    plain = ShardedTensor.from_rank_offsets("fc1", weight, (0, 2, 4), (1, 1, 2), prepend_axis_num=1)
    [one] = rectangles_of(plain)
    assert (one.full_shape, one.offsets, one.sizes, one.first) == ((4, 12, 5), (2, 6, 0), (1, 6, 5), 0)
    gate, up = rectangles_of(apply_swiglu_sharded_factory(plain, ((0, 2, 4),)))
    assert (gate.full_shape, gate.offsets, gate.sizes, gate.first) == ((4, 12, 5), (2, 3, 0), (1, 3, 5), 0)
    assert (up.offsets, up.sizes, up.first) == ((2, 9, 0), (1, 3, 5), 15)


def test_overlap_is_the_same_elements_of_both() -> None:
    one, other = whole(6, 5), (2, 1)
    found = overlap(one, other, (9, 2))
    assert found is not None
    numbers = torch.arange(30).view(6, 5)
    assert torch.equal(numbers[found[0]], numbers[2:, 1:3][found[1]])
    assert overlap(one, (6, 0), (1, 5)) is None
