"""Whether the arrays of an .idx agree with each other: what is known of one that has no checksums."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from megatron_redone.formats.indexed import IndexedDataset

_BLOCK = 1 << 22  # entries looked at at once
_WINDOW = 1 << 12  # entries of a sample
_WINDOWS = 16


def index_problems(dataset: "IndexedDataset", *, sampled: bool = False) -> Iterator[str]:
    """What does not agree, one line each: pointers with lengths, documents with sequences.

    Args:
        dataset: Opened.
        sampled: Look at 16 windows of 4,096 entries, spread evenly, the first and the last among them; of indices that
            are no longer, at all of it. So it takes the same time for any corpus.
    """
    wrong = _wrong_sequence(dataset, sampled)
    if wrong is not None:
        yield f"{dataset.paths.idx}: {wrong}"
        return
    indices = dataset.document_indices
    if indices[0] != 0 or indices[-1] != dataset.sequence_count:
        yield f"{dataset.paths.idx}: its documents do not cover its sequences"
    elif any((np.diff(indices[a : b + 1]) < 0).any() for a, b in _parts(len(indices), sampled)):
        yield f"{dataset.paths.idx}: its documents are not in order"


def _wrong_sequence(dataset: "IndexedDataset", sampled: bool) -> str | None:
    if dataset.sequence_count and dataset.sequence_pointers[0] != 0:
        return "sequence 0 does not begin where the file does"
    for start, stop in _parts(dataset.sequence_count, sampled):
        lengths = dataset.sequence_lengths[start:stop].astype(np.int64) * dataset.dtype.itemsize
        pointers = dataset.sequence_pointers[start : stop + 1]
        if len(lengths) and lengths.min() < 0:
            return f"sequence {start + int(lengths.argmin()):,} has a negative length"
        wrong = np.flatnonzero(np.diff(pointers) != lengths[: len(pointers) - 1])
        if len(wrong):
            return f"sequence {start + int(wrong[0]) + 1:,} does not begin where the one before ends"
    return None


def _parts(count: int, sampled: bool) -> Iterator[tuple[int, int]]:
    if sampled and count > _WINDOWS * _WINDOW:
        for number in range(_WINDOWS):
            start = (count - _WINDOW) * number // (_WINDOWS - 1)
            yield start, start + _WINDOW
    else:
        for start in range(0, count, _BLOCK):
            yield start, min(start + _BLOCK, count)
