"""Columns of 64-bit hashes, each sorted on the disk with the documents that they are of, and cut into parts.

A pass that looks for equal hashes over all tasks takes a range of them, a part: of every task's column it reads
what lies in that range and nothing else. Task N has the files N.values, `uint64[columns, D]`, N.order,
`uint32[columns, D]`, and N.borders, `uint32[columns, parts + 1]`: where each part begins, and where the last one ends.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

_RANGE_BITS = 16  # a part is a range of the upper bits


def write_runs(folder: Path, task: int, columns: Iterable[np.ndarray], parts: int) -> None:
    """Writes the sorted columns of a task.

    Args:
        folder: Of all tasks.
        task: Its number.
        columns: `uint64[D]` each.
        parts: Into which they are cut.
    """
    lowest = _lowest(parts)
    with (
        open(_file(folder, task, "values"), "wb") as values,
        open(_file(folder, task, "order"), "wb") as order,
        open(_file(folder, task, "borders"), "wb") as borders,
    ):
        for column in columns:
            places = np.argsort(column, kind="stable")
            ascending = column[places]
            values.write(ascending.tobytes())
            order.write(places.astype(np.uint32).tobytes())
            borders.write(np.append(np.searchsorted(ascending, lowest), len(column)).astype(np.uint32).tobytes())


def read_part(folder: Path, task: int, column: int, part: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of a column that are in a part, ascending, and the documents: `uint64[N]`, `uint32[N]`.

    Of equal hashes the document that stands first in its task comes first.
    """
    borders = _read(_file(folder, task, "borders"), np.uint32, column * (parts + 1), parts + 1)
    first, last, documents = map(int, borders[[part, part + 1, parts]])
    start, length = column * documents + first, last - first
    values = _read(_file(folder, task, "values"), np.uint64, start, length)
    return values, _read(_file(folder, task, "order"), np.uint32, start, length)


def _lowest(parts: int) -> np.ndarray:
    """`uint64[parts]`: the lowest hash that each can have."""
    steps = -(-(np.arange(parts, dtype=np.int64) << _RANGE_BITS) // parts)
    return steps.astype(np.uint64) << np.uint64(64 - _RANGE_BITS)


def _read(path: Path, kind: type[np.generic], start: int, length: int) -> np.ndarray:
    if not length:
        return np.empty(0, kind)
    size = np.dtype(kind).itemsize
    with open(path, "rb", buffering=0) as file:
        file.seek(start * size)
        return np.frombuffer(file.read(length * size), kind, length)


def _file(folder: Path, task: int, name: str) -> Path:
    return folder / f"{task:05d}.{name}"
