"""Where documents begin, found in the .idx without reading or mapping more than a few of its pages.

The `sequence_pointers` of the .idx are the prefix sum of the sequence lengths, so the sequence at a
token position is one search in a sorted array. Interpolation finds it in two or three reads of 4 KB
(the prefix sum of many lengths is close to a straight line), and positioned reads, unlike a mapping
of a 2 GB file that is touched all over, leave nothing in the process.
"""

import os
from pathlib import Path

import numpy as np

from megatron_redone.formats.indexed import IndexedDataset, read_exactly

_WINDOW = 512  # entries read at once: 4 KB, one page
_INTERPOLATIONS = 4  # steps after which halving takes over, for lengths that are anything but even


class DocumentBorders:
    """Answers which positions of a dataset's token stream begin a document."""

    def __init__(self, dataset: IndexedDataset) -> None:
        """Opens the .idx of a dataset that holds at least one token."""
        self._fd = os.open(dataset.paths.idx, os.O_RDONLY)
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)
        self._pointers = SortedFileArray(self._fd, dataset.paths.idx, dataset.sequence_pointers)
        self._documents = SortedFileArray(self._fd, dataset.paths.idx, dataset.document_indices)
        self._item_size = dataset.dtype.itemsize

    def inside(self, start: int, stop: int) -> np.ndarray:
        """The token positions `p`, `start < p < stop`, at which a document begins: `int64[n]`, ascending."""
        first, pointers = self._pointers.between((start + 1) * self._item_size, stop * self._item_size)
        if not len(pointers):
            return pointers
        # Almost always a document is one sequence, and then this search hits at its first guess.
        _, sequences = self._documents.between(first, first + len(pointers))
        return np.unique(pointers[sequences - first] // self._item_size)

    def document_at(self, position: int) -> tuple[int, int]:
        """The number of the document that holds a token position, and the place in it."""
        sequence = self._pointers.search(position * self._item_size + 1) - 1
        document = self._documents.search(sequence + 1) - 1
        first_sequence = int(self._documents.read(document, 1)[0])
        return document, position - int(self._pointers.read(first_sequence, 1)[0]) // self._item_size

    def close(self) -> None:
        """Closes the .idx."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.close()


class SortedFileArray:
    """An ascending array in a file, read in pieces of a page."""

    def __init__(self, fd: int, path: Path, mapped: np.ndarray) -> None:
        """Takes the place in the file, the length and the type from a mapping of the array.

        Args:
            fd: The open file.
            path: Its name.
            mapped: A one-dimensional, non-empty `np.memmap` of that file; only its two ends are touched.
        """
        assert isinstance(mapped, np.memmap) and len(mapped)
        self._fd, self._path = fd, path
        self._dtype = mapped.dtype
        self._offset = mapped.offset
        self._length = len(mapped)
        self._ends = int(mapped[0]), int(mapped[-1])

    def read(self, start: int, count: int) -> np.ndarray:
        """Entries from `start` on, fewer than `count` where the array ends."""
        count = min(count, self._length - start)
        size = self._dtype.itemsize
        return np.frombuffer(read_exactly(self._fd, count * size, self._offset + start * size, self._path), self._dtype)

    def between(self, low: int, high: int) -> tuple[int, np.ndarray]:
        """The entries `v`, `low <= v < high`, and the index of the first of them."""
        first = self.search(low)
        pieces = [self.read(first, _WINDOW)]
        while len(pieces[-1]) == _WINDOW and pieces[-1][-1] < high:
            pieces.append(self.read(first + _WINDOW * len(pieces), _WINDOW))
        entries = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        return first, entries[: np.searchsorted(entries, high)]

    def search(self, value: int) -> int:
        """The index of the first entry that is `value` or more; the length where there is none."""
        low, high = 0, self._length
        value_low, value_high = self._ends
        steps = 0
        while low < high:
            guess = (low + high) // 2
            if steps < _INTERPOLATIONS and value_low < value < value_high:
                guess = low + (high - low) * (value - value_low) // (value_high - value_low)
            start = max(low, min(guess - _WINDOW // 2, high - _WINDOW))
            entries = self.read(start, min(_WINDOW, high - start))
            place = int(np.searchsorted(entries, value))
            if place == 0:
                high, value_high = start, int(entries[0])
            elif place == len(entries):
                low, value_low = start + len(entries), int(entries[-1])
            else:
                return start + place
            steps += 1
        return low
