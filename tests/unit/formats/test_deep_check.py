"""Damage that only reading everything finds."""

from pathlib import Path

import numpy as np

from megatron_redone.formats.deep_check import problems
from megatron_redone.formats.indexed import IndexedDataset, IndexedDatasetWriter


def write(prefix: Path) -> None:
    with IndexedDatasetWriter(prefix, np.int32) as writer:
        writer.add(np.arange(60), np.array([10, 20, 30]), np.array([1, 2]))
        writer.finish()


def patch(path: Path, offset: int, value: np.ndarray) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + value.nbytes] = value.tobytes()
    path.write_bytes(content)


def test_a_sound_dataset_has_no_problems(tmp_path: Path) -> None:
    write(tmp_path / "a")
    assert list(problems(IndexedDataset(tmp_path / "a"))) == []


def test_shifted_pointers_disordered_documents_and_negative_ids(tmp_path: Path) -> None:
    header, lengths = 34, 12
    for offset, value, message in [
        (header + lengths + 8, np.int64(44), "sequence 1 does not begin where the one before ends"),
        (header + lengths + 24 + 8, np.int64(9), "documents are not in order"),
        (header + lengths + 24, np.int64(1), "documents do not cover"),
    ]:
        write(tmp_path / "a")
        patch(tmp_path / "a.idx", offset, value)
        assert message in "; ".join(problems(IndexedDataset(tmp_path / "a")))
    write(tmp_path / "a")
    patch(tmp_path / "a.bin", 0, np.int32(-5))
    assert "ids from -5" in "; ".join(problems(IndexedDataset(tmp_path / "a")))
