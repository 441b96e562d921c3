"""Slots of packed rows: what lies where, which label belongs to which token, and what pads."""

import numpy as np
import pytest

from megatron_redone.datasets.row_writer import RowWriter


def sequence(first: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(first, first + length, dtype=np.uint16), (np.arange(length) >= 2).astype(np.uint8)


def test_sequences_lie_one_after_the_other_and_padding_is_a_segment() -> None:
    writer = RowWriter(2, 8)
    assert writer.add(sequence(10, 4)) == slice(0, 3) and writer.add(sequence(20, 3)) == slice(3, 5)
    writer.end_row(0)
    writer.add(sequence(30, 9))  # fills its row: nothing is padded
    writer.end_row(1)
    batch = writer.micro_batch()
    assert batch.tokens.tolist() == [[10, 11, 12, 20, 21, 0, 0, 0, *range(30, 38)]]
    assert batch.labels.tolist() == [[11, 12, 13, 21, 22, 0, 0, 0, *range(31, 39)]]
    assert batch.loss_mask.tolist() == [[0, 1, 1, 0, 1, 0, 0, 0, 0, *[1] * 7]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, *range(8)]]
    assert batch.cu_seqlens.tolist() == [0, 3, 5, 8, 16]


def test_a_shared_prompt_is_left_out_and_its_positions_go_on() -> None:
    writer = RowWriter(1, 8)
    ids, mask = sequence(10, 6)
    prompt = writer.add_inputs(ids[:2])
    for _ in range(2):
        writer.add((ids, mask), shared=2, prefix=(prompt.start, prompt.stop))
    writer.end_row(0)
    batch = writer.micro_batch()
    assert batch.tokens.tolist() == [[10, 11, 12, 13, 14, 12, 13, 14]]
    assert batch.labels.tolist() == [[0, 0, 13, 14, 15, 13, 14, 15]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4]]
    assert batch.loss_mask.tolist() == [[0, 0, 1, 1, 1, 1, 1, 1]]
    assert writer.prefixes == [(0, 0), (0, 2), (0, 2)]


def test_a_row_that_is_too_full_is_a_bug() -> None:
    writer = RowWriter(2, 4)
    writer.add(sequence(0, 6))
    with pytest.raises(AssertionError, match="exceed its length"):
        writer.end_row(0)
