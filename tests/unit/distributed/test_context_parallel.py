"""Which slots of a row a context-parallel rank holds. The oracle for packed rows is Transformer Engine's rule, written
out: every segment is padded to a multiple of two chunks a rank, and cut by itself."""

import itertools

import pytest
import torch

from megatron_redone.distributed.context_parallel import (
    PADDING,
    chunks_of,
    slots_of_row,
    slots_of_segments,
    split_sequence,
    take_slots,
)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_chunk_belongs_to_one_rank_and_all_have_the_same_work(size: int) -> None:
    held = [chunks_of(rank, size) for rank in range(size)]
    assert sorted(chunk for pair in held for chunk in pair) == list(range(2 * size))
    assert {sum(pair) for pair in held} == {2 * size - 1}  # causal work grows with a chunk's number


@pytest.mark.parametrize("size", [1, 2, 3])
def test_megatron_core_splits_a_row_alike(size: int) -> None:
    row = torch.arange(2 * 24).view(2, 24)
    for rank in range(size):
        if size == 1:
            expected = row
        else:  # megatron/core/utils.py, get_batch_on_this_cp_rank, without a group
            chunks = row.view(2, 2 * size, 24 // (2 * size))
            expected = chunks.index_select(1, torch.tensor([rank, 2 * size - rank - 1])).view(2, -1)
        assert torch.equal(split_sequence(row, rank, size), expected)
        assert torch.equal(row[:, slots_of_row(24, rank, size)], expected)


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("cu_seqlens", [[0, 24], [0, 1, 2, 13, 13, 20, 24], [0, 8, 16], [0, 5]])
def test_segments_are_padded_and_shared_one_by_one(cu_seqlens: list[int], size: int, multiple: int) -> None:
    ranks = [slots_of_segments(cu_seqlens, rank, size, multiple) for rank in range(size)]
    padded = ranks[0][1]
    assert all(edges == padded for _, edges in ranks) and len({len(slots) for slots, _ in ranks}) == 1
    assert padded[-1] == size * len(ranks[0][0]) and padded[-1] % (2 * size * multiple) == 0
    # Put together chunk by chunk, each segment reads its tokens in order, then padding.
    lengths = [end - begin for begin, end in itertools.pairwise(cu_seqlens) if end > begin]
    starts = [begin for begin, end in itertools.pairwise(cu_seqlens) if end > begin]
    at = 0
    for number, (begin, end) in enumerate(itertools.pairwise(padded)):
        each = (end - begin) // size
        parts = [slots[at : at + each].view(2, -1) for slots, _ in ranks]
        whole = torch.cat([part[0] for part in parts] + [part[1] for part in reversed(parts)])
        length, start = (lengths[number], starts[number]) if number < len(lengths) else (0, 0)
        assert whole.tolist() == [*range(start, start + length), *[PADDING] * (end - begin - length)]
        at += each


def test_padding_reads_zero() -> None:
    row = torch.tensor([[5, 6, 7], [8, 9, 10]])
    assert take_slots(row, torch.tensor([2, PADDING, 0])).tolist() == [[7, 0, 5], [10, 0, 8]]
