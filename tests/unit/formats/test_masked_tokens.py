"""Conversations and preferences on disk: what was written comes back, what is damaged is refused."""

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
from megatron_redone.formats.deep_check import problems
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import TokenizerRecord
from megatron_redone.formats.masked_tokens import MaskedTokensWriter

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
    manifest = ConversationManifest(
        **facts, dtype=written.dtype, counts=counts, files=written.files, checksums=written.checksums
    )
    write_conversation_manifest(prefix, manifest)


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


WEIGHTS = MASK * np.array([1, 1, 0.5, 0.5, 0.25, 0.25, 1, 1, 1, 0.25, 1, 1], np.float32)


def test_loss_weights_come_back_and_the_format_says_that_they_are_there(tmp_path: Path) -> None:
    write_conversations(tmp_path / "a", WEIGHTS)
    opened = ConversationDataset.open(tmp_path / "a")
    for dataset in (opened, pickle.loads(pickle.dumps(opened))):
        assert dataset.is_weighted and dataset.manifest["format"] == "megatron_redone.conversations/2"
        assert np.concatenate([dataset.loss_weights(i) for i in range(4)]).tolist() == WEIGHTS.tolist()
        assert np.concatenate([dataset.loss_mask(i) for i in range(4)]).tolist() == MASK.tolist()
        assert [dataset.loss_weights(i).dtype.name for i in range(4)] == ["float32", "float32", "float32", "uint8"]
    assert opened.manifest["counts"]["trained_tokens"] == 6
    before = opened.fingerprint
    write_conversations(tmp_path / "a", WEIGHTS / 2)
    assert ConversationDataset.open(tmp_path / "a").fingerprint != before


def test_a_dataset_without_weights_is_what_it_was_and_replaces_one_with_them(tmp_path: Path) -> None:
    write_conversations(tmp_path / "a", WEIGHTS)
    write_conversations(tmp_path / "a", MASK.astype(np.float32))
    opened = ConversationDataset.open(tmp_path / "a")
    assert not opened.is_weighted and opened.manifest["format"] == "megatron_redone.conversations/1"
    assert not (tmp_path / "a.loss_weights.npy").exists()
    assert all(opened.loss_weights(i).tolist() == opened.loss_mask(i).tolist() for i in range(4))


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    write_conversations(tmp_path / "a")
    write_conversations(tmp_path / "b")
    first, second = (ConversationDataset.open(tmp_path / name).fingerprint for name in "ab")
    assert first == second
    write_conversations(tmp_path / "b", 1 - MASK)
    assert ConversationDataset.open(tmp_path / "b").fingerprint != first


def read_all(prefix: Path) -> list[np.ndarray]:
    dataset = ConversationDataset.open(prefix)
    return [read(number) for number in range(len(dataset)) for read in (dataset.tokens, dataset.loss_weights)]


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "missing"])
def test_every_damaged_file_is_named_when_it_is_read(tmp_path: Path, damage: str) -> None:
    random = np.random.default_rng(0)
    weights = random.choice(np.array([0.0, 0.5, 1.0], np.float32), len(TOKENS))
    write_conversations(tmp_path / "a", weights)
    names = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(names) == 10
    for name, whole in names.items():
        content = bytearray(whole)
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        (tmp_path / name).write_bytes({"flipped": bytes(content), "cut": whole[: len(whole) // 2]}.get(damage, b""))
        if damage == "missing":
            (tmp_path / name).unlink()
        with pytest.raises(UserError, match=rf"{name}: "):
            read_all(tmp_path / "a")
        (tmp_path / name).write_bytes(whole)
    read_all(tmp_path / "a")


def test_a_mask_of_another_dataset_is_refused(tmp_path: Path) -> None:
    write_conversations(tmp_path / "a")
    with MaskedTokensWriter(tmp_path / "b", TOKENIZER.vocab_size) as writer:
        writer.add(TOKENS, MASK, LENGTHS[::-1])
        writer.finish()
    for suffix in ("loss_mask.idx", "loss_mask.idx.xxh3"):  # of the same sizes
        (tmp_path / f"b.{suffix}").replace(tmp_path / f"a.{suffix}")
        with pytest.raises(UserError, match=r"a\.loss_mask\.idx(: damaged|\.xxh3: of another dataset)"):
            read_all(tmp_path / "a")


def test_damage_of_the_same_size_is_found_by_verify(tmp_path: Path) -> None:
    write_conversations(tmp_path / "a")
    content = bytearray((tmp_path / "a.loss_mask.bin").read_bytes())
    content[0] ^= 1
    (tmp_path / "a.loss_mask.bin").write_bytes(content)
    assert "loss_mask.bin has other content than was written" in "; ".join(problems(IndexedDataset(tmp_path / "a")))
