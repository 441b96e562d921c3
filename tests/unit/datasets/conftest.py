"""Datasets that the tests read, written by megatron-core's own builder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

EOD = 0

WriteDataset = Callable[..., str]


@pytest.fixture
def write_dataset(tmp_path: Path) -> WriteDataset:
    """Answers a function that writes random documents of the given token counts, each ended by EOD."""

    def write(lengths: Sequence[int], name: str = "data", vocab: int = 1000, pieces: int = 1, dtype=np.int32) -> str:
        random = np.random.default_rng(len(lengths))
        prefix = str(tmp_path / name)
        builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
        for length in lengths:
            ids = random.integers(1, vocab, length)
            ids[-1:] = EOD
            cuts = np.linspace(0, length, pieces + 1).astype(int)
            builder.add_document(ids, np.diff(cuts).tolist())
        builder.finalize(f"{prefix}.idx")
        return prefix

    return write
