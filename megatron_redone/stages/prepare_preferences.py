"""`redone prepare-preferences`: preference pairs to token ids with masks on the responses, one dataset a source."""

from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from megatron_redone.config.prepare_preferences import PreparePreferencesConfig
from megatron_redone.curation.chats.chat_batches import EncodedBatch, EncodedItem, RawChats, Tally
from megatron_redone.curation.chats.chat_data import ChatData, SourceFacts
from megatron_redone.curation.chats.chat_sources import prepare_sources
from megatron_redone.curation.pair_formats.encoding import PairEncoder
from megatron_redone.curation.pair_formats.records import recognise
from megatron_redone.formats.masked_tokens import MaskedTokensSummary
from megatron_redone.formats.preferences import (
    PreferenceCounts,
    PreferenceManifest,
    PreferenceWriter,
    write_preference_manifest,
)
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile


def run(config: PreparePreferencesConfig) -> None:
    """Writes OUTPUT_DIR/NAME.* for every source, and OUTPUT_DIR/manifest.json.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    pairs = ChatData(
        stage="prepare-preferences",
        unit="pairs",
        recognise=recognise,
        build=build_encoder,
        open_writer=PreferenceWriter,
        add=_add,
        write_manifest=_write_manifest,
        format_advice="set the source's format",
        answer_advice="such a record is invalid; on_lost_answer=keep learns what is left of it",
    )
    prepare_sources(config, pairs)


def build_encoder(
    config: PreparePreferencesConfig, template: ChatTemplateFile, now: datetime
) -> Callable[[RawChats], EncodedBatch]:
    """What does the work in each process."""
    return PairEncoder(config, template, now).encode


def _add(writer: PreferenceWriter, items: Sequence[EncodedItem]) -> None:
    tokens = np.concatenate([item.tokens for item in items])
    mask = np.concatenate([item.loss_mask for item in items])
    lengths = np.array([item.lengths for item in items], np.int64)
    rewards = [item.rewards for item in items if item.rewards is not None]
    writer.add(tokens, mask, lengths, np.array(rewards) if len(rewards) == len(items) else None)


def _write_manifest(prefix: str, split: str, facts: SourceFacts, written: MaskedTokensSummary, tally: Tally) -> None:
    counts = PreferenceCounts(
        pairs=written.sequences // 2,
        tokens=written.tokens,
        trained_tokens=written.trained_tokens,
        records=tally.records,
        invalid=tally.invalid.total(),
        invalid_by_reason=dict(tally.invalid.most_common()),
        with_special_tokens=tally.with_special_tokens,
        lost_parts=dict(tally.lost_parts),
        unused_responses=tally.unused_responses,
    )
    manifest = PreferenceManifest(
        **facts.as_keywords(),
        split=split,
        dtype=written.dtype,
        counts=counts,
        files=written.files,
        checksums=written.checksums,
    )
    write_preference_manifest(prefix, manifest)
