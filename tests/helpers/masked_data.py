"""Small conversations and preference pairs as the prepare stages write them, without a tokenizer."""

from pathlib import Path

import numpy as np

from megatron_redone.formats.conversations import (
    ConversationCounts,
    ConversationManifest,
    write_conversation_manifest,
)
from megatron_redone.formats.manifest import TokenizerRecord
from megatron_redone.formats.masked_tokens import MaskedTokensWriter
from megatron_redone.formats.preferences import (
    PreferenceCounts,
    PreferenceManifest,
    PreferenceWriter,
    write_preference_manifest,
)

Sequence = tuple[np.ndarray, np.ndarray]
"""Ids, uint16, and mask, uint8, or loss weights, float32, of one sequence."""


def random_conversations(lengths: list[int], vocab: int, seed: int) -> list[Sequence]:
    """Conversations of given lengths; the mask covers one or two turns and always the last token."""
    random = np.random.default_rng(seed)
    found = []
    for length in lengths:
        ids = (int(random.integers(vocab)) + 7 * np.arange(length)) % vocab
        mask = np.zeros(length, np.uint8)
        mask[int(random.integers(1, length)) :] = 1
        if length > 12:
            mask[length // 2 : length // 2 + 3] = 0
        found.append((ids.astype(np.uint16), mask))
    return found


def weighted(conversations: list[Sequence]) -> list[Sequence]:
    """The same, the loss of every third one's learned tokens counting a half and then a quarter."""
    found = []
    for number, (ids, mask) in enumerate(conversations):
        weights = mask.astype(np.float32)
        if number % 3 == 0:
            weights *= np.where(np.arange(len(ids)) < len(ids) // 2, 0.5, 0.25).astype(np.float32)
        found.append((ids, weights))
    return found


def write_conversations(prefix: Path, conversations: list[Sequence], vocab: int) -> Path:
    """A dataset as `redone prepare-sft` writes it."""
    with MaskedTokensWriter(prefix, vocab) as writer:
        for ids, mask in conversations:
            writer.add(ids, mask, np.array([len(ids)]))
        summary = writer.finish()
    counts = ConversationCounts(summary.sequences, summary.tokens, summary.trained_tokens, summary.sequences)
    write_conversation_manifest(
        prefix,
        ConversationManifest(
            source=prefix.name,
            capability="general",
            split="train",
            tokenizer=_tokenizer(vocab),
            dtype=summary.dtype,
            counts=counts,
            files=summary.files,
            checksums=summary.checksums,
        ),
    )
    return prefix


def random_pairs(count: int, vocab: int, seed: int, longest: int = 30) -> list[tuple[Sequence, Sequence]]:
    """Pairs of a shared prompt and two responses of unequal length."""
    random = np.random.default_rng(seed)

    def sequence(prompt: np.ndarray, length: int) -> Sequence:
        ids = np.concatenate([prompt, random.integers(0, vocab, length)]).astype(np.uint16)
        return ids, np.repeat(np.array([0, 1], np.uint8), [len(prompt), length])

    pairs = []
    for _ in range(count):
        prompt = random.integers(0, vocab, int(random.integers(1, longest)))
        pairs.append(tuple(sequence(prompt, int(random.integers(1, longest))) for _ in range(2)))
    return pairs


def write_pairs(
    prefix: Path, pairs: list[tuple[Sequence, Sequence]], vocab: int, rewards: np.ndarray | None = None
) -> Path:
    """A dataset as `redone prepare-preferences` writes it; rewards are `[pairs, 2]`."""
    with PreferenceWriter(prefix, vocab) as writer:
        for number, pair in enumerate(pairs):
            ids, masks = (np.concatenate(parts) for parts in zip(*pair, strict=True))
            lengths = np.array([[len(side[0]) for side in pair]])
            writer.add(ids, masks, lengths, None if rewards is None else rewards[number : number + 1])
        summary = writer.finish()
    counts = PreferenceCounts(len(pairs), summary.tokens, summary.trained_tokens, len(pairs))
    write_preference_manifest(
        prefix,
        PreferenceManifest(
            source=prefix.name,
            capability="general",
            split="train",
            tokenizer=_tokenizer(vocab),
            dtype=summary.dtype,
            counts=counts,
            files=summary.files,
            checksums=summary.checksums,
        ),
    )
    return prefix


def _tokenizer(vocab: int) -> TokenizerRecord:
    return TokenizerRecord(path="none", fingerprint="0" * 16, vocab_size=vocab, eod_id=None)
