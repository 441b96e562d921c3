"""`redone prepare-sft`: conversations to token ids with loss masks, one dataset a source."""

from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from megatron_redone.config.prepare_sft import PrepareSFTConfig
from megatron_redone.curation.chats.chat_batches import EncodedBatch, EncodedItem, RawChats, Tally
from megatron_redone.curation.chats.chat_data import ChatData, SourceFacts
from megatron_redone.curation.chats.chat_sources import prepare_sources
from megatron_redone.curation.conversations.encoding import ConversationEncoder
from megatron_redone.curation.conversations.records import recognise
from megatron_redone.formats.conversations import ConversationCounts, ConversationManifest, write_conversation_manifest
from megatron_redone.formats.masked_tokens import MaskedTokensSummary, MaskedTokensWriter
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile


def run(config: PrepareSFTConfig) -> None:
    """Writes OUTPUT_DIR/NAME.* for every source, and OUTPUT_DIR/manifest.json.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    conversations = ChatData(
        stage="prepare-sft",
        unit="conversations",
        recognise=recognise,
        build=build_encoder,
        open_writer=MaskedTokensWriter,
        add=_add,
        write_manifest=_write_manifest,
        format_advice="set the source's format, or its prompt_key and completion_key",
        answer_advice=(
            "such a record is invalid; on_lost_answer=keep learns what is left of it, history=generated learns each "
            "answer as it was generated, with its own reasoning where the template has a place for that"
        ),
    )
    prepare_sources(config, conversations)


def build_encoder(
    config: PrepareSFTConfig, template: ChatTemplateFile, now: datetime
) -> Callable[[RawChats], EncodedBatch]:
    """What does the work in each process."""
    return ConversationEncoder(config, template, now).encode


def _add(writer: MaskedTokensWriter, items: Sequence[EncodedItem]) -> None:
    tokens = np.concatenate([item.tokens for item in items])
    mask = np.concatenate([item.loss_mask for item in items])
    writer.add(tokens, mask, np.array([item.lengths[0] for item in items], np.int64))


def _write_manifest(prefix: str, split: str, facts: SourceFacts, written: MaskedTokensSummary, tally: Tally) -> None:
    counts = ConversationCounts(
        conversations=written.sequences,
        tokens=written.tokens,
        trained_tokens=written.trained_tokens,
        records=tally.records,
        invalid=tally.invalid.total(),
        invalid_by_reason=dict(tally.invalid.most_common()),
        with_special_tokens=tally.with_special_tokens,
        lost_parts=dict(tally.lost_parts),
    )
    manifest = ConversationManifest(
        **facts.as_keywords(),
        split=split,
        dtype=written.dtype,
        counts=counts,
        files=written.files,
        checksums=written.checksums,
        loss_on=facts.config["loss_on"],
    )
    write_conversation_manifest(prefix, manifest)
