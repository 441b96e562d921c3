"""Columns of 64-bit hashes, each sorted on the disk with the documents that they are of, and cut into parts.

A pass that looks for equal hashes over all tasks takes a range of them, a part: of every task's column it reads
what lies in that range and nothing else, which it does as often as there are columns, parts and tasks.

Task N has the file N.runs with its columns of D hashes one after the other. In each stand `uint32[parts + 1]`, where a
part begins and where the last one ends; then of one part after the other the hashes and the documents: `uint64[n]`,
`uint32[n]`.
"""

import os
import struct
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

_RANGE_BITS = 16  # a part is a range of the upper bits
_BORDER, _HASH, _DOCUMENT = 4, 8, 4  # bytes


def write_runs(folder: Path, task: int, columns: Iterable[np.ndarray], parts: int) -> None:
    """Writes the sorted columns of a task.

    Args:
        folder: Of all tasks.
        task: Its number.
        columns: `uint64[D]` each.
        parts: Into which they are cut.
    """
    lowest = _lowest(parts)
    with open(_file(folder, task), "wb") as file:
        for column in columns:
            places = np.argsort(column, kind="stable")
            ascending, places = column[places], places.astype(np.uint32)
            borders = np.append(np.searchsorted(ascending, lowest), len(column)).astype(np.uint32)
            file.write(borders.tobytes())
            for first, last in pairwise(borders.tolist()):
                file.write(ascending[first:last].tobytes())
                file.write(places[first:last].tobytes())


def read_part(folder: Path, task: int, column: int, part: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of a column that are in a part, ascending, and the documents: `uint64[N]`, `uint32[N]`.

    Of equal hashes the document that stands first in its task comes first.
    """
    file = os.open(_file(folder, task), os.O_RDONLY)
    try:
        (documents,) = struct.unpack("=I", os.pread(file, _BORDER, parts * _BORDER))
        start = column * ((parts + 1) * _BORDER + documents * (_HASH + _DOCUMENT))
        first, last = struct.unpack("=II", os.pread(file, 2 * _BORDER, start + part * _BORDER))
        start += (parts + 1) * _BORDER + first * (_HASH + _DOCUMENT)
        length = last - first
        found = os.pread(file, length * (_HASH + _DOCUMENT), start)
    finally:
        os.close(file)
    return np.frombuffer(found, np.uint64, length), np.frombuffer(found, np.uint32, length, length * _HASH)


def _lowest(parts: int) -> np.ndarray:
    """`uint64[parts]`: the lowest hash that each can have."""
    steps = -(-(np.arange(parts, dtype=np.int64) << _RANGE_BITS) // parts)
    return steps.astype(np.uint64) << np.uint64(64 - _RANGE_BITS)


def _file(folder: Path, task: int) -> str:
    return f"{folder}/{task:05d}.runs"
