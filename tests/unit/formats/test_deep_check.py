"""Damage that only reading everything finds."""

from pathlib import Path

import numpy as np
import pytest

from megatron_redone.config.verify import VerifyConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.deep_check import check_dataset, problems
from megatron_redone.formats.indexed import IndexedDataset, IndexedDatasetWriter
from megatron_redone.formats.preferences import PreferenceDataset
from megatron_redone.formats.reference_scores import ReferenceScores, reference_path, write_reference
from megatron_redone.stages import verify
from tests.helpers.masked_data import random_pairs, write_pairs


def write(prefix: Path) -> None:
    with IndexedDatasetWriter(prefix, np.int32) as writer:
        writer.add(np.arange(60), np.array([10, 20, 30]), np.array([1, 2]))
        writer.finish()


def patch(path: Path, offset: int, value: np.generic) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + value.nbytes] = value.tobytes()
    path.write_bytes(content)


def test_what_a_sample_of_a_long_index_does_not_see_is_seen_here(tmp_path: Path) -> None:
    count = 200_000
    with IndexedDatasetWriter(tmp_path / "a", np.int32) as writer:
        writer.add(np.arange(count), np.ones(count, np.int64))
        writer.finish()
    pointers = 34 + 4 * count
    for sequence, is_sampled in [(count // 2, False), (count - 2, True)]:
        content = (tmp_path / "a.idx").read_bytes()
        patch(tmp_path / "a.idx", pointers + 8 * sequence, np.int64(4 * sequence + 4))
        if is_sampled:
            with pytest.raises(UserError, match=f"sequence {sequence:,} does not begin"):
                IndexedDataset(tmp_path / "a")
        else:
            assert f"sequence {sequence:,} does not begin" in "; ".join(problems(IndexedDataset(tmp_path / "a")))
        (tmp_path / "a.idx").write_bytes(content)


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
        with pytest.raises(UserError, match=message):
            IndexedDataset(tmp_path / "a")
    write(tmp_path / "a")
    patch(tmp_path / "a.bin", 0, np.int32(-5))
    assert "ids from -5" in "; ".join(problems(IndexedDataset(tmp_path / "a")))


def test_a_dataset_of_pairs_is_compared_with_its_scores(tmp_path: Path) -> None:
    prefix = write_pairs(tmp_path / "p", random_pairs(9, 100, seed=1), 100)
    scores = reference_path(str(prefix), "")
    lacking = check_dataset(prefix)
    assert lacking.has_checksums and lacking.lacks == scores
    numbers = {"sums": np.ones((9, 2), np.float32), "lengths": np.ones((9, 2), np.int32)}
    own = PreferenceDataset.open(prefix).fingerprint
    write_reference(scores, ReferenceScores(data=own, model="m", done=9, **numbers))
    with_scores = check_dataset(prefix)
    assert with_scores.lacks is None and with_scores.size == lacking.size + scores.stat().st_size
    write_reference(scores, ReferenceScores(data="others", model="m", done=9, **numbers))
    with pytest.raises(UserError, match=r"p\.reference\.safetensors: the scores belong to other data"):
        check_dataset(prefix)
    (tmp_path / "p.manifest.json").unlink()
    with pytest.raises(UserError, match=r"p\.manifest\.json: missing"):
        check_dataset(prefix)


def test_without_checksums_a_dataset_is_only_consistent(tmp_path: Path) -> None:
    write(tmp_path / "a")
    assert not check_dataset(tmp_path / "a").has_checksums
    with pytest.raises(UserError, match="consistent, but it has no checksums"):
        verify.run(VerifyConfig(dataset=str(tmp_path / "a")))
