"""How much of a held-out set stands in a source, on documents put there by hand."""

from pathlib import Path

import numpy as np
import pytest

from megatron_redone.formats.indexed import IndexedDataset, IndexedDatasetWriter
from megatron_redone.mixture import held_out_overlap as module
from megatron_redone.mixture.held_out_overlap import overlap


def write(prefix: Path, documents: list[np.ndarray]) -> IndexedDataset:
    with IndexedDatasetWriter(prefix, np.int32) as writer:
        for document in documents:
            writer.add(document, np.array([len(document)]))
        writer.finish()
    return IndexedDataset(prefix)


def texts(seed: int, lengths: list[int]) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 1000, length) for length in lengths]


def test_short_documents_and_windows_of_long_ones_are_found_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 500)  # several blocks
    held_out = texts(1, [20] * 10 + [96] * 5 + [3])
    others = texts(2, [40] * 60)
    inside = np.concatenate([others[0][:7], held_out[10], others[1][:5]])  # begins anywhere within another
    source = write(tmp_path / "source", [*others, held_out[0], inside, *held_out[1:3], held_out[15]])
    found = overlap(write(tmp_path / "held_out", held_out), source, 10_000)
    assert found == pytest.approx((3 * 20 + 96) / (10 * 20 + 5 * 96))


def test_part_of_a_short_document_is_none_of_it(tmp_path: Path) -> None:
    held_out = texts(1, [20] * 10)
    source = write(tmp_path / "source", [np.append(document, 5) for document in held_out])
    assert overlap(write(tmp_path / "held_out", held_out), source, 10_000) == 0


def test_nothing_that_counts_overlaps_nothing(tmp_path: Path) -> None:
    short = write(tmp_path / "held_out", texts(1, [3] * 10))
    assert overlap(short, write(tmp_path / "source", texts(2, [50])), 1000) == 0


def test_only_what_is_validated_on_counts(tmp_path: Path) -> None:
    held_out = texts(1, [64] * 10)
    source = write(tmp_path / "source", held_out[5:])
    paths = write(tmp_path / "held_out", held_out)
    assert overlap(paths, source, 320) == 0 and overlap(paths, source, 640) == pytest.approx(0.5)
