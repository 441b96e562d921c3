"""Preferences on disk: what was written comes back, what is damaged is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.done_check import write_sealed
from megatron_redone.formats.file_record import record_file
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import TokenizerRecord
from megatron_redone.formats.preferences import (
    CHOSEN,
    REJECTED,
    PreferenceCounts,
    PreferenceDataset,
    PreferenceManifest,
    PreferenceWriter,
    write_preference_manifest,
)

TOKENIZER = TokenizerRecord("somewhere", "0123456789abcdef", 70_000, None)
LENGTHS = np.array([5, 1, 4, 2])
TOKENS = np.arange(12) * 6000
MASK = np.array([0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0], np.uint8)
REWARDS = np.array([[1.0, -0.5], [2.0, 0.25]])


def write_preferences(prefix: Path, rewards: np.ndarray | None = REWARDS) -> None:
    with PreferenceWriter(prefix, TOKENIZER.vocab_size) as writer:
        writer.add(TOKENS, MASK, LENGTHS.reshape(2, 2), rewards)
        written = writer.finish()
    counts = PreferenceCounts(written.sequences // 2, written.tokens, written.trained_tokens, records=2)
    facts = {"source": "posts", "capability": "general", "split": "train", "tokenizer": TOKENIZER}
    manifest = PreferenceManifest(
        **facts, dtype=written.dtype, counts=counts, files=written.files, checksums=written.checksums
    )
    write_preference_manifest(prefix, manifest)


def test_preferences_come_back_with_their_rewards(tmp_path: Path) -> None:
    write_preferences(tmp_path / "a")
    dataset = PreferenceDataset.open(tmp_path / "a")
    assert dataset.pairs == 2 and dataset.lengths.tolist() == [[5, 1], [4, 2]]
    assert dataset.tokens(1, CHOSEN).tolist() == TOKENS[6:10].tolist()
    assert dataset.tokens(1, REJECTED).tolist() == TOKENS[10:].tolist()
    assert dataset.loss_mask(0, REJECTED).tolist() == [1]
    assert dataset.rewards is not None and dataset.rewards.tolist() == REWARDS.tolist()
    assert IndexedDataset(tmp_path / "a").document(1).tolist() == TOKENS[6:].tolist()


def test_rewards_are_there_only_where_every_pair_has_them(tmp_path: Path) -> None:
    write_preferences(tmp_path / "a")
    with_rewards = PreferenceDataset.open(tmp_path / "a").fingerprint
    write_preferences(tmp_path / "a", rewards=None)
    assert PreferenceDataset.open(tmp_path / "a").rewards is None
    assert PreferenceDataset.open(tmp_path / "a").fingerprint != with_rewards
    assert not (tmp_path / "a.rewards.npy").exists()


def test_truncated_and_mixed_files_are_refused(tmp_path: Path) -> None:
    write_preferences(tmp_path / "a")
    whole = (tmp_path / "a.rewards.npy").read_bytes()
    (tmp_path / "a.rewards.npy").write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"rewards.npy: has \d+ bytes"):
        PreferenceDataset.open(tmp_path / "a")
    (tmp_path / "a.loss_mask.bin").unlink()
    with pytest.raises(UserError, match=r"loss_mask.bin: is missing"):
        PreferenceDataset.open(tmp_path / "a")


def test_a_failed_writer_leaves_nothing_and_the_old_dataset_stands(tmp_path: Path) -> None:
    write_preferences(tmp_path / "a")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RuntimeError), PreferenceWriter(tmp_path / "a", TOKENIZER.vocab_size) as writer:
        writer.add(TOKENS, MASK, LENGTHS.reshape(2, 2))
        raise RuntimeError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert json.loads(before["a.manifest.json"])["counts"]["pairs"] == 2


@pytest.mark.parametrize("wrong", [np.zeros((3, 2), np.float32), np.zeros((2, 2), np.float64)])
def test_rewards_of_another_form_are_refused(wrong: np.ndarray, tmp_path: Path) -> None:
    write_preferences(tmp_path / "a")
    np.save(tmp_path / "a.rewards.npy", wrong)
    manifest = json.loads((tmp_path / "a.manifest.json").read_text())
    manifest["files"]["rewards.npy"] = dataclasses.asdict(record_file(tmp_path / "a.rewards.npy"))
    write_sealed(tmp_path / "a.manifest.json", {key: value for key, value in manifest.items() if key != "seal"})
    with pytest.raises(UserError, match=r"rewards.npy: not float32 \[2, 2\]"):
        PreferenceDataset.open(tmp_path / "a")
