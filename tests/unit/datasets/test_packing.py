"""Items go into few rows that are nearly full, or into a given number of rows that are nearly equal."""

import numpy as np
import pytest

from megatron_redone.datasets.packing import balance, pack


@pytest.mark.parametrize("capacity", [64, 100, 4096])
def test_packing_is_best_fit_decreasing(capacity: int) -> None:
    lengths = np.random.default_rng(capacity).integers(1, capacity + 1, 2000)
    packing = pack(lengths, capacity)
    assert sorted(packing.items.tolist()) == list(range(2000))
    used = [int(lengths[packing.row(row)].sum()) for row in range(packing.rows)]
    assert max(used) <= capacity and packing.efficiency == pytest.approx(lengths.sum() / capacity / packing.rows)
    # The textbook's way: look through all rows.
    expected: list[int] = []
    for length in sorted(lengths.tolist(), reverse=True):
        fitting = [row for row, filled in enumerate(expected) if filled + length <= capacity]
        if fitting:
            expected[max(fitting, key=expected.__getitem__)] += length
        else:
            expected.append(length)
    assert sorted(used) == sorted(expected)


def test_balanced_rows() -> None:
    lengths = np.random.default_rng(1).integers(1, 50, 40).tolist()
    rows = balance(lengths, 4)
    assert sorted(item for row in rows for item in row) == list(range(40))
    sums = [sum(lengths[item] for item in row) for row in rows]
    assert max(sums) - min(sums) <= min(lengths) + 3
