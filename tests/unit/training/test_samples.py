"""Ranges of samples meet where they share one."""

import pytest

from megatron_redone.training.samples import SampleRange


@pytest.mark.parametrize(
    ("ranges", "meets"),
    [([], False), ([[0, 7]], False), ([[0, 8]], True), ([[11, 20]], True), ([[12, 20]], False), ([[9, 10]], True)],
)
def test_ranges_meet(ranges: list[list[int]], meets: bool) -> None:
    assert SampleRange(8, 11).meets_any(ranges) is meets
