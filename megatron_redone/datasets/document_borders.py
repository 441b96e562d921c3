"""Where documents begin, found in the .idx without reading or mapping more than a few of its pages.

The `sequence_pointers` of the .idx are the prefix sum of the sequence lengths, so the sequence at a
token position is one search in a sorted array. Interpolation finds it in two or three reads of 4 KB
(the prefix sum of many lengths is close to a straight line), and positioned reads, unlike a mapping
of a 2 GB file that is touched all over, leave nothing in the process.
"""

import numpy as np

from megatron_redone.errors import UserError
from megatron_redone.formats.checked_file import CheckedFile
from megatron_redone.formats.indexed import IndexedDataset

_WINDOW = 512  # entries read at once: 4 KB, one page
_INTERPOLATIONS = 4  # steps after which halving takes over, for lengths that are anything but even


class DocumentBorders:
    """Answers which positions of a dataset's token stream begin a document."""

    def __init__(self, dataset: IndexedDataset) -> None:
        """Opens the .idx of a dataset that holds at least one token."""
        self._file = CheckedFile(dataset.paths.idx, random_access=True)
        self._pointers = SortedFileArray(self._file, dataset.sequence_pointers)
        self._documents = SortedFileArray(self._file, dataset.document_indices)
        self._item_size = dataset.dtype.itemsize
        self._lengths = None if dataset.has_checksums else dataset.sequence_lengths

    def inside(self, start: int, stop: int) -> np.ndarray:
        """The token positions `p`, `start < p < stop`, at which a document begins: `int64[n]`, ascending."""
        first, pointers = self._pointers.between((start + 1) * self._item_size, stop * self._item_size)
        if not len(pointers):
            return pointers
        if self._lengths is not None:
            self._check_pointers(first, len(pointers), self._lengths)
        # Almost always a document is one sequence, and then this search hits at its first guess.
        _, sequences = self._documents.between(first, first + len(pointers))
        return np.unique(pointers[sequences - first] // self._item_size)

    def document_at(self, position: int) -> tuple[int, int]:
        """The number of the document that holds a token position, and the place in it."""
        sequence = self._pointers.search(position * self._item_size + 1) - 1
        document = self._documents.search(sequence + 1) - 1
        first_sequence = int(self._documents.read(document, 1)[0])
        return document, position - int(self._pointers.read(first_sequence, 1)[0]) // self._item_size

    def _check_pointers(self, first: int, count: int, lengths: np.ndarray) -> None:
        """An .idx of another program is opened on a sample alone: what is used of it is compared here."""
        start = max(first - 1, 0)
        pointers = self._pointers.read(start, first - start + count)
        steps = lengths[start : start + len(pointers) - 1].astype(np.int64) * self._item_size
        wrong = np.flatnonzero(np.diff(pointers) != steps)
        if len(wrong):
            raise UserError(
                f"{self._file.path}: sequence {start + int(wrong[0]) + 1:,} does not begin where the one before ends; "
                "copy or write the dataset again"
            )

    def close(self) -> None:
        """Closes the .idx."""
        self._file.close()


class SortedFileArray:
    """An ascending array in a file, read in pieces of a page."""

    def __init__(self, file: CheckedFile, mapped: np.ndarray) -> None:
        """Takes the place in the file, the length and the type from a mapping of the array.

        Args:
            file: The open file.
            mapped: A one-dimensional, non-empty `np.memmap` of that file; only its two ends are touched.
        """
        assert isinstance(mapped, np.memmap) and len(mapped)
        self._file = file
        self._dtype = mapped.dtype
        self._offset = mapped.offset
        self._length = len(mapped)
        self._ends = int(mapped[0]), int(mapped[-1])

    def read(self, start: int, count: int) -> np.ndarray:
        """Entries from `start` on, fewer than `count` where the array ends.

        Raises:
            UserError: they are damaged: not those that were written, or not ascending.
        """
        count = min(count, self._length - start)
        size = self._dtype.itemsize
        entries = np.frombuffer(self._file.read(self._offset + start * size, count * size), self._dtype)
        if (entries[1:] < entries[:-1]).any():
            raise UserError(
                f"{self._file.path}: its entries from {start:,} on are not in order; copy or write the dataset again"
            )
        return entries

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
