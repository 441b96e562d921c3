"""Blocks cover the rows without a gap, and none needs more memory than it may."""

from math import prod

import pytest

from megatron_redone.conversion import row_blocks as module
from megatron_redone.conversion.row_blocks import row_blocks


@pytest.mark.parametrize("columns", [(), (1,), (7,), (99,), (1000,)])
@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (3, 250), (5, 5)])
def test_blocks_tile_the_rows(columns: tuple[int, ...], start: int, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUMBERS", 100)
    blocks = list(row_blocks(start, stop, columns))
    assert [row for first, last in blocks for row in range(first, last)] == list(range(start, stop))
    assert all((last - first) * prod(columns) <= max(100, prod(columns)) for first, last in blocks)
    assert all(first < last for first, last in blocks)
