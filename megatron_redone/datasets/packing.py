"""Which conversations share a row: best fit decreasing.

The longest comes first, and each goes to the row with the least room that still takes it. It needs at most
11/9 of the fewest rows possible, and a fraction of a percent more on real lengths (Johnson, Demers, Ullman,
Garey and Graham, "Worst-case performance bounds for simple one-dimensional packing algorithms", SIAM Journal
on Computing 3, 1974).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Items in rows.

    Attributes:
        items: `int64[n]`, the numbers of all items, row after row.
        starts: `int64[rows + 1]`, where in `items` each row begins, and n.
        efficiency: Fraction of the rows' room that is used.
    """

    items: np.ndarray
    starts: np.ndarray
    efficiency: float

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.starts) - 1

    def row(self, number: int) -> np.ndarray:
        """The items of a row, `int64[k]`."""
        return self.items[self.starts[number] : self.starts[number + 1]]


def pack(lengths: np.ndarray, capacity: int) -> Packing:
    """Packs items into as few rows as best fit decreasing finds. The same lengths give the same rows.

    Args:
        lengths: `[n]`, from 1 to `capacity`.
        capacity: What a row holds.
    """
    assert len(lengths) and int(lengths.min()) >= 1 and int(lengths.max()) <= capacity, "an item does not fit"
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    row_of = _best_fit(lengths[order].tolist(), capacity)
    by_row = np.argsort(row_of, kind="stable")
    rows = int(row_of.max()) + 1
    starts = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=rows))])
    return Packing(items=order[by_row], starts=starts, efficiency=int(lengths.sum(dtype=np.int64)) / (rows * capacity))


def _best_fit(descending: list[int], capacity: int) -> np.ndarray:
    """The row of each item. Bit r of `room` says that some row has r left: a shift and the lowest bit find it."""
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    room, rows, answer = 0, 0, []
    for length in descending:
        fits = room >> length
        if fits:
            left = length + (fits & -fits).bit_length() - 1
            row = with_room[left].pop()
            if not with_room[left]:
                room ^= 1 << left
        else:
            left, row, rows = capacity, rows, rows + 1
        answer.append(row)
        left -= length
        if left:
            if not with_room[left]:
                room ^= 1 << left
            with_room[left].append(row)
    return np.array(answer, np.int64)


def balance(lengths: list[int], rows: int) -> list[list[int]]:
    """Spreads items over a given number of rows so that the fullest is nearly as short as can be.

    The longest item goes first, to the emptiest row (Graham, "Bounds on multiprocessing timing anomalies", SIAM
    Journal on Applied Mathematics 17, 1969).

    Returns:
        The items of each row.
    """
    filled: list[list[int]] = [[] for _ in range(rows)]
    used = [0] * rows
    for item in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        row = min(range(rows), key=used.__getitem__)
        filled[row].append(item)
        used[row] += lengths[item]
    return filled
