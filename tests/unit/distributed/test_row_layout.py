"""Masks of chunks under context parallelism. The oracle is the definition, element by element."""

import pytest
import torch

from megatron_redone.distributed.context_parallel import split_sequence
from megatron_redone.distributed.row_layout import RowLayout, Segment

LENGTH = 24
CPU = torch.device("cpu")


@pytest.mark.parametrize("cu_seqlens", [None, [0, 24], [0, 1, 2, 13, 13, 20, 24], [0, 6, 12, 18, 24], [0, 23, 24]])
@pytest.mark.parametrize("size", [2, 3])
def test_masks_say_who_may_look_at_whom(cu_seqlens: list[int] | None, size: int) -> None:
    document = torch.zeros(LENGTH, dtype=torch.int64)
    for edge in (cu_seqlens or [0])[1:-1]:
        document[edge:] += 1
    positions = torch.arange(LENGTH)
    expected = (document[:, None] == document) & (positions <= positions[:, None])
    for rank in range(size):
        masks = RowLayout(cu_seqlens=cu_seqlens, context_rank=rank, context_size=size).chunk_masks(LENGTH, CPU)
        found = torch.zeros(0, LENGTH, dtype=torch.bool)
        for mask in masks:
            rows = torch.zeros(len(mask.allowed), LENGTH, dtype=torch.bool)
            rows[:, mask.first : mask.last] = mask.allowed
            found = torch.cat([found, rows])
        mine = split_sequence(positions[None], rank, size)[0]
        assert torch.equal(found, expected[mine])


def test_masks_are_made_once_for_all_layers() -> None:
    layout = RowLayout(cu_seqlens=[0, 5, LENGTH], context_rank=0, context_size=2)
    assert layout.chunk_masks(LENGTH, CPU)[1] is layout.chunk_masks(LENGTH, CPU)[1]


def test_empty_segments_have_no_tokens() -> None:
    assert RowLayout(cu_seqlens=[0, 4, 4, 6]).segments == [Segment(0, 4), Segment(4, 6)]
