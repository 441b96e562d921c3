"""Where documents begin, against numpy over the whole arrays."""

from pathlib import Path

import numpy as np
import pytest

from megatron_redone.datasets.document_borders import DocumentBorders, SortedFileArray
from megatron_redone.formats.checked_file import CheckedFile
from megatron_redone.formats.indexed import IndexedDataset


def test_the_document_at_a_position(write_dataset) -> None:
    for pieces in (1, 2):
        lengths = np.random.default_rng(0).integers(1, 400, 500).tolist()
        borders = DocumentBorders(IndexedDataset(write_dataset(lengths, name=f"d{pieces}", pieces=pieces)))
        ends = np.cumsum(lengths)
        for position in (0, 1, int(ends[0]) - 1, int(ends[0]), 7777, int(ends[-1]) - 1):
            document = int(np.searchsorted(ends, position, side="right"))
            expected = (document, position - int(ends[document] - lengths[document]))
            assert borders.document_at(position) == expected


@pytest.mark.parametrize("shape", ["line", "exponential", "steps", "random"])
def test_the_search_in_a_file_agrees_with_numpy(tmp_path: Path, shape: str) -> None:
    random, n = np.random.default_rng(0), 20_000
    entries = {
        "line": np.arange(n) * 7,
        "exponential": np.unique((1.002 ** np.arange(n)).clip(0, 2**62).astype(np.int64)),
        "steps": np.repeat(np.arange(n // 1000) * 10**12, 1000),
        "random": np.sort(random.integers(0, 2**40, n)),
    }[shape]
    (tmp_path / "array").write_bytes(b"head" + entries.astype(np.int64).tobytes())
    with CheckedFile(tmp_path / "array") as file:
        array = SortedFileArray(file, np.memmap(tmp_path / "array", np.int64, "r", 4))
        values = [*random.choice(entries, 200), *random.integers(0, int(entries[-1]) + 1, 200), -1, 0, entries[-1] + 1]
        for value in values:
            assert array.search(int(value)) == np.searchsorted(entries, value)
