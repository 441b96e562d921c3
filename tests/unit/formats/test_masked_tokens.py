"""Conversations and preferences on disk: what was written comes back, what is damaged is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.conversations import (
    ConversationCounts,
    ConversationDataset,
    ConversationManifest,
    write_conversation_manifest,
)
from megatron_redone.formats.dataset_check import problems
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import TokenizerRecord
from megatron_redone.formats.masked_tokens import MaskedTokensWriter
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


def write_conversations(prefix: Path, mask: np.ndarray = MASK) -> None:
    with MaskedTokensWriter(prefix, TOKENIZER.vocab_size) as writer:
        writer.add(TOKENS[:6], mask[:6], LENGTHS[:2])
        writer.add(TOKENS[6:], mask[6:], LENGTHS[2:])
        written = writer.finish()
    counts = ConversationCounts(written.sequences, written.tokens, written.trained_tokens, records=5, invalid=1)
    facts = {"source": "posts", "capability": "general", "split": "train", "tokenizer": TOKENIZER}
    manifest = ConversationManifest(**facts, dtype=written.dtype, counts=counts, files=written.files)
    write_conversation_manifest(prefix, manifest)


def write_preferences(prefix: Path, rewards: np.ndarray | None = REWARDS) -> None:
    with PreferenceWriter(prefix, TOKENIZER.vocab_size) as writer:
        writer.add(TOKENS, MASK, LENGTHS.reshape(2, 2), rewards)
        written = writer.finish()
    counts = PreferenceCounts(written.sequences // 2, written.tokens, written.trained_tokens, records=2)
    facts = {"source": "posts", "capability": "general", "split": "train", "tokenizer": TOKENIZER}
    manifest = PreferenceManifest(**facts, dtype=written.dtype, counts=counts, files=written.files)
    write_preference_manifest(prefix, manifest)


def test_conversations_come_back_and_so_from_a_pickle(tmp_path: Path) -> None:
    write_conversations(tmp_path / "a")
    opened = ConversationDataset.open(tmp_path / "a")
    for dataset in (opened, pickle.loads(pickle.dumps(opened))):
        assert dataset.lengths.tolist() == LENGTHS.tolist() and len(dataset) == 4
        assert dataset.tokens(0).dtype == np.int32
        assert np.concatenate([dataset.tokens(i) for i in range(4)]).tolist() == TOKENS.tolist()
        assert np.concatenate([dataset.loss_mask(i) for i in range(4)]).tolist() == MASK.tolist()
    counts = opened.manifest["counts"]
    assert (counts["tokens"], counts["trained_tokens"], counts["invalid"]) == (12, 6, 1)
    assert (opened.source, opened.capability) == ("posts", "general")
    assert list(problems(IndexedDataset(tmp_path / "a"))) == []
    assert not list(tmp_path.glob("*.partial"))


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


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    write_conversations(tmp_path / "a")
    write_conversations(tmp_path / "b")
    first, second = (ConversationDataset.open(tmp_path / name).fingerprint for name in "ab")
    assert first == second
    write_conversations(tmp_path / "b", 1 - MASK)
    assert ConversationDataset.open(tmp_path / "b").fingerprint != first


def test_missing_half_written_and_foreign_datasets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing; write it with `redone prepare-sft`"):
        ConversationDataset.open(tmp_path / "a")
    write_conversations(tmp_path / "a")
    with pytest.raises(UserError, match=r"conversations/1, not .*preferences/1"):
        PreferenceDataset.open(tmp_path / "a")
    (tmp_path / "a.manifest.json").unlink()
    with pytest.raises(UserError, match="half-written"):
        ConversationDataset.open(tmp_path / "a")


def test_truncated_and_mixed_files_are_refused(tmp_path: Path) -> None:
    write_preferences(tmp_path / "a")
    whole = (tmp_path / "a.rewards.npy").read_bytes()
    (tmp_path / "a.rewards.npy").write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"rewards.npy: has \d+ bytes"):
        PreferenceDataset.open(tmp_path / "a")
    (tmp_path / "a.loss_mask.bin").unlink()
    with pytest.raises(UserError, match=r"loss_mask.bin: is missing"):
        PreferenceDataset.open(tmp_path / "a")


def test_a_mask_of_another_dataset_is_refused(tmp_path: Path) -> None:
    write_conversations(tmp_path / "a")
    with MaskedTokensWriter(tmp_path / "b", TOKENIZER.vocab_size) as writer:
        writer.add(TOKENS, MASK, LENGTHS[::-1])
        writer.finish()
    for suffix in ("loss_mask.bin", "loss_mask.idx"):  # of the same sizes
        (tmp_path / f"b.{suffix}").replace(tmp_path / f"a.{suffix}")
    with pytest.raises(UserError, match="does not fit"):
        ConversationDataset.open(tmp_path / "a")


def test_damage_of_the_same_size_is_found_by_verify(tmp_path: Path) -> None:
    write_conversations(tmp_path / "a")
    content = bytearray((tmp_path / "a.loss_mask.bin").read_bytes())
    content[0] ^= 1
    (tmp_path / "a.loss_mask.bin").write_bytes(content)
    assert "loss_mask.bin: its content is not that" in "; ".join(problems(IndexedDataset(tmp_path / "a")))


def test_a_failed_writer_leaves_nothing_and_the_old_dataset_stands(tmp_path: Path) -> None:
    write_preferences(tmp_path / "a")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RuntimeError), PreferenceWriter(tmp_path / "a", TOKENIZER.vocab_size) as writer:
        writer.add(TOKENS, MASK, LENGTHS.reshape(2, 2))
        raise RuntimeError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert json.loads(before["a.manifest.json"])["counts"]["pairs"] == 2
