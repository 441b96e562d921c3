"""Columns of 64-bit hashes, each sorted on the disk with the documents that they are of.

A pass that looks for equal hashes over all tasks takes a range of them, a part: of every task's column it reads
what lies in that range and nothing else. Task N has the files N.values, `uint64[columns, D]`, and N.order,
`uint32[columns, D]`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

_RANGE_BITS = 16  # a part is a range of the upper bits


def write_runs(folder: Path, task: int, columns: Iterable[np.ndarray]) -> None:
    """Writes the sorted columns of a task.

    Args:
        folder: Of all tasks.
        task: Its number.
        columns: `uint64[D]` each.
    """
    with open(_file(folder, task, "values"), "wb") as values, open(_file(folder, task, "order"), "wb") as order:
        for column in columns:
            places = np.argsort(column, kind="stable")
            values.write(column[places].tobytes())
            order.write(places.astype(np.uint32).tobytes())


def read_part(folder: Path, task: int, column: int, part: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of a column that are in a part, ascending, and the documents: `uint64[N]`, `uint32[N]`.

    Of equal hashes the document that stands first in its task comes first.
    """
    documents = (folder / f"{task:05d}.hashes").stat().st_size // 8
    if not documents:
        return np.empty(0, np.uint64), np.empty(0, np.uint32)
    values = _column(_file(folder, task, "values"), np.uint64, column, documents)
    first, last = (_lower_bound(values, border, parts) for border in (part, part + 1))
    order = _column(_file(folder, task, "order"), np.uint32, column, documents)
    return np.array(values[first:last]), np.array(order[first:last])


def _lower_bound(values: np.ndarray, part: int, parts: int) -> int:
    if part >= parts:
        return len(values)
    return int(np.searchsorted(values, np.uint64(-(-(part << _RANGE_BITS) // parts) << 64 - _RANGE_BITS)))


def _column(path: Path, kind: type[np.generic], number: int, length: int) -> np.ndarray:
    size = np.dtype(kind).itemsize
    return np.memmap(path, kind, "r", offset=number * length * size, shape=(length,))


def _file(folder: Path, task: int, name: str) -> Path:
    return folder / f"{task:05d}.{name}"
