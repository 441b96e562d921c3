"""What differs between conversations and preferences for the stage that prepares them, and what does not."""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from megatron_redone import __version__
from megatron_redone.curation.chats.chat_batches import EncodedBatch, EncodedItem, RawChats, Tally
from megatron_redone.formats.done_check import Finished
from megatron_redone.formats.file_record import FileRecord
from megatron_redone.formats.inputs import InputFile
from megatron_redone.formats.manifest import ChatTemplateRecord, TokenizerRecord, finished_dataset, manifest_path
from megatron_redone.formats.masked_tokens import MaskedTokensSummary

# The record of a file that is not there.
_MISSING = {"size": 0, "sha256": ""}


class DatasetWriter(Protocol):
    """What the writers of conversations and of preferences have in common."""

    def finish(self) -> MaskedTokensSummary:
        """Gives the files their names."""
        ...

    def abandon(self) -> None:
        """Removes what was written."""
        ...


@dataclass(frozen=True)
class SourceFacts:
    """What a source's manifests say besides counts and files; see `ConversationManifest`."""

    source: str
    capability: str
    tokenizer: TokenizerRecord
    record_formats: dict[str, int]
    chat_template_sha256: str
    rendered_at: str
    inputs: list[InputFile]
    work: str
    config: dict[str, Any]
    chat_template: ChatTemplateRecord | None = None
    reports: dict[str, FileRecord] = dataclasses.field(default_factory=dict)
    version: str = __version__

    def as_keywords(self) -> dict[str, Any]:
        """For a manifest, whose keys these are."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclass(frozen=True)
class ChatData:
    """Conversations or preferences.

    Attributes:
        stage: The name of the command.
        unit: What its datasets hold: conversations or pairs.
        recognise: The format of a record, or None, given the record and its source.
        build: Builds the worker of a process from the configuration, the template and the time.
        open_writer: A writer for a prefix and a vocabulary size.
        add: Hands items to a writer.
        write_manifest: Writes the manifest of a dataset: prefix, split, facts, what was written, and the tally.
        format_advice: Which keys tell the format where it is not known.
        answer_advice: Which keys say what becomes of answers that lose a part.
    """

    stage: str
    unit: str
    recognise: Callable[[dict[str, Any], Any], enum.Enum | None]
    build: Callable[..., Callable[[RawChats], EncodedBatch]]
    open_writer: Callable[[str, int], DatasetWriter]
    add: Callable[[Any, Sequence[EncodedItem]], None]
    write_manifest: Callable[[str, str, SourceFacts, MaskedTokensSummary, Tally], None]
    format_advice: str
    answer_advice: str


@dataclass(frozen=True)
class SourcePlan:
    """A source and where it goes.

    Attributes:
        number: Of the source in the configuration.
        source: Its section of the configuration.
        prefix: Of the dataset to learn from.
        work: Hash of everything that decides the bytes of its datasets.
    """

    number: int
    source: Any
    files: list[InputFile]
    prefix: str
    work: str

    @property
    def validation_prefix(self) -> str:
        """Of the dataset that is held out."""
        return f"{self.prefix}.validation"

    @property
    def splits(self) -> dict[str, str]:
        """The prefixes of its datasets by their splits; the one that is completed last is the last."""
        held_out = bool(self.source.validation_fraction or self.source.validation_count)
        return {**({"validation": self.validation_prefix} if held_out else {}), "train": self.prefix}

    def finished(self) -> Finished | None:
        """What the manifests of its datasets say, or None where that of the dataset to learn from is not there."""
        train = finished_dataset(self.prefix)
        if train is None:
            return None
        files, is_intact = dict(train.files), train.is_intact
        for prefix in self.splits.values():
            part = finished_dataset(prefix)
            if part is None:
                files[manifest_path(prefix)] = _MISSING
            else:
                files.update(part.files)
                is_intact = is_intact and part.is_intact and part.work == train.work
        return Finished(train.work, files, train.manifest, is_intact)
