"""Conversations as token ids with loss masks: what `redone prepare-sft` writes and `redone sft` reads.

The files are those of `masked_tokens`; every conversation is one document of one sequence.
"""

import os
from dataclasses import dataclass, field
from typing import Any

from megatron_redone import __version__
from megatron_redone.formats.file_record import FileRecord
from megatron_redone.formats.inputs import InputFile
from megatron_redone.formats.loss_weights import FILE as WEIGHTS
from megatron_redone.formats.manifest import (
    CONVERSATIONS,
    WEIGHTED_CONVERSATIONS,
    ChatTemplateRecord,
    TokenizerRecord,
    write_manifest,
)
from megatron_redone.formats.masked_tokens import MaskedTokens

STAGE = "prepare-sft"


@dataclass(frozen=True)
class ConversationCounts:
    """What a dataset holds, and what became of its source's records.

    Attributes:
        trained_tokens: Tokens whose mask is 1.
        records: Of the whole source, held-out and invalid ones included.
        invalid: Of the whole source.
        with_special_tokens: Valid records of the whole source in whose own text special tokens are written.
        lost_parts: How many parts of the answers of the whole source the template left out, by kind: reasoning, text,
            call.
    """

    conversations: int
    tokens: int
    trained_tokens: int
    records: int
    invalid: int = 0
    invalid_by_reason: dict[str, int] = field(default_factory=dict)
    with_special_tokens: int = 0
    lost_parts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ConversationManifest:
    """PREFIX.manifest.json of conversations.

    Attributes:
        source: Its name in the configuration.
        capability: What it trains, in the words of the configuration.
        split: `train` or `validation`.
        files: By what follows `PREFIX.` in the name.
        checksums: Likewise, the files with the checksums of .bin and .idx.
        reports: Likewise, what was written for people to read: the list of invalid records.
        record_formats: How many records each format had.
        chat_template_sha256: Of the template's text.
        chat_template: The template itself, with all that it read.
        rendered_at: The time that the template was told, ISO 8601: some templates write the date.
        loss_on: What the mask covers.
        work: Hash of everything that decides the dataset's bytes.
        config: The resolved configuration, for people.
        version: Of this package.
    """

    source: str
    capability: str
    split: str
    tokenizer: TokenizerRecord
    dtype: str
    counts: ConversationCounts
    files: dict[str, FileRecord]
    checksums: dict[str, FileRecord] = field(default_factory=dict)
    reports: dict[str, FileRecord] = field(default_factory=dict)
    record_formats: dict[str, int] = field(default_factory=dict)
    chat_template_sha256: str = ""
    chat_template: ChatTemplateRecord | None = None
    rendered_at: str = ""
    loss_on: str = "assistant"
    inputs: list[InputFile] = field(default_factory=list)
    work: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    version: str = __version__


def write_conversation_manifest(prefix: str | os.PathLike[str], manifest: ConversationManifest) -> None:
    """Writes the manifest, after all other files; its presence says that the dataset is complete."""
    write_manifest(prefix, manifest, WEIGHTED_CONVERSATIONS if WEIGHTS in manifest.files else CONVERSATIONS)


class ConversationDataset(MaskedTokens):
    """Reads conversations; see `MaskedTokens`."""

    @classmethod
    def open(cls, prefix: str | os.PathLike[str]) -> "ConversationDataset":
        """Opens PREFIX.

        Raises:
            UserError: nothing is there, it is of another kind, half-written, truncated or mixed from two runs.
        """
        return cls(prefix, (CONVERSATIONS, WEIGHTED_CONVERSATIONS), STAGE)

    @property
    def source(self) -> str:
        """The source's name."""
        return self.manifest["source"]

    @property
    def capability(self) -> str:
        """What the source trains."""
        return self.manifest["capability"]
