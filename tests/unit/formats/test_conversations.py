"""Conversations on disk, and what is refused in their place."""

from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.conversations import ConversationDataset
from megatron_redone.formats.preferences import PreferenceDataset
from tests.helpers.masked_data import random_conversations, random_pairs, write_conversations, write_pairs

CONVERSATIONS = random_conversations([3, 14, 2, 40], vocab=300, seed=1)


def test_every_conversation_is_a_document_with_its_mask(tmp_path: Path) -> None:
    dataset = ConversationDataset.open(write_conversations(tmp_path / "posts", CONVERSATIONS, 300))
    assert len(dataset) == len(CONVERSATIONS)
    for number, (ids, mask) in enumerate(CONVERSATIONS):
        assert dataset.tokens(number).tolist() == ids.tolist()
        assert dataset.loss_mask(number).tolist() == mask.tolist()
    counts = dataset.manifest["counts"]
    assert counts["conversations"] == 4 and counts["tokens"] == 59
    assert counts["trained_tokens"] == sum(int(mask.sum()) for _, mask in CONVERSATIONS)
    assert (dataset.source, dataset.capability) == ("posts", "general")


def test_missing_half_written_and_foreign_datasets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing; write it with `redone prepare-sft`"):
        ConversationDataset.open(tmp_path / "a")
    write_conversations(tmp_path / "a", CONVERSATIONS, 300)
    with pytest.raises(UserError, match=r"conversations/1, not .*preferences/1"):
        PreferenceDataset.open(tmp_path / "a")
    (tmp_path / "a.manifest.json").unlink()
    with pytest.raises(UserError, match="half-written"):
        ConversationDataset.open(tmp_path / "a")


def test_preferences_are_no_conversations(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a", random_pairs(3, 300, seed=2), 300)
    with pytest.raises(UserError, match=r"preferences/1, not .*conversations/1"):
        ConversationDataset.open(tmp_path / "a")
