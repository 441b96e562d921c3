"""Preference pairs as token ids with loss masks: `redone prepare-preferences` writes them, `redone dpo` reads them.

The files are those of `masked_tokens`. Pair i is document i of two sequences, each the whole
conversation: 2i ends in the chosen response, 2i+1 in the rejected one; the mask is 1 on the response.
Where every record has rewards there is also

    PREFIX.rewards.npy   float32 [pairs, 2], of chosen and rejected
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from megatron_redone import __version__
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import atomic_file
from megatron_redone.formats.file_record import FileRecord, record_file
from megatron_redone.formats.inputs import InputFile
from megatron_redone.formats.manifest import (
    PREFERENCES,
    ChatTemplateRecord,
    TokenizerRecord,
    file_records,
    write_manifest,
)
from megatron_redone.formats.masked_tokens import MaskedTokens, MaskedTokensSummary, MaskedTokensWriter

STAGE = "prepare-preferences"
CHOSEN, REJECTED = 0, 1
_REWARDS = "rewards.npy"


@dataclass(frozen=True)
class PreferenceCounts:
    """What a dataset holds, and what became of its source's records.

    Attributes:
        tokens: Of both sides, prompts counted twice.
        trained_tokens: Those of the responses.
        records: Of the whole source, held-out and invalid ones included.
        invalid: Of the whole source.
        with_special_tokens: Valid records of the whole source in whose own text special tokens are written.
        lost_parts: How many parts of the answers of the whole source the template left out, by kind: reasoning, text,
            call.
        unused_responses: Of the whole source: where a record has more than two, those that are in no pair.
    """

    pairs: int
    tokens: int
    trained_tokens: int
    records: int
    invalid: int = 0
    invalid_by_reason: dict[str, int] = field(default_factory=dict)
    with_special_tokens: int = 0
    lost_parts: dict[str, int] = field(default_factory=dict)
    unused_responses: int = 0


@dataclass(frozen=True, kw_only=True)
class PreferenceManifest:
    """PREFIX.manifest.json of preferences; the keys are those of `conversations.ConversationManifest`."""

    source: str
    capability: str
    split: str
    tokenizer: TokenizerRecord
    dtype: str
    counts: PreferenceCounts
    files: dict[str, FileRecord]
    checksums: dict[str, FileRecord] = field(default_factory=dict)
    reports: dict[str, FileRecord] = field(default_factory=dict)
    record_formats: dict[str, int] = field(default_factory=dict)
    chat_template_sha256: str = ""
    chat_template: ChatTemplateRecord | None = None
    rendered_at: str = ""
    inputs: list[InputFile] = field(default_factory=list)
    work: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    version: str = __version__


def write_preference_manifest(prefix: str | os.PathLike[str], manifest: PreferenceManifest) -> None:
    """Writes the manifest, after all other files; its presence says that the dataset is complete."""
    write_manifest(prefix, manifest, PREFERENCES)


class PreferenceWriter:
    """Writes pairs; they appear under their names only when `finish` has flushed all of them.

    The manifest is for the caller to write, after `finish`. Used as a context manager it removes its
    partial files when the body raises.
    """

    def __init__(self, prefix: str | os.PathLike[str], vocab_size: int) -> None:
        """Opens the partial files; see `MaskedTokensWriter`."""
        self._data = MaskedTokensWriter(prefix, vocab_size)
        self._rewards: list[np.ndarray] = []
        self._all_have_rewards = True

    def add(
        self, tokens: np.ndarray, loss_mask: np.ndarray, lengths: np.ndarray, rewards: np.ndarray | None = None
    ) -> None:
        """Appends pairs.

        Args:
            tokens: Integer ids: prompt and chosen response, prompt and rejected response, pair after pair, `[T]`.
            loss_mask: `uint8` of the same shape, 1 on the responses.
            lengths: `[pairs, 2]`, tokens of both sides.
            rewards: `[pairs, 2]`; None where one of these pairs has none, and then the dataset has none.
        """
        self._data.add(tokens, loss_mask, lengths.reshape(-1), np.full(len(lengths), 2, np.int64))
        if rewards is None:
            self._all_have_rewards = self._all_have_rewards and not len(lengths)
        else:
            assert rewards.shape == lengths.shape, "rewards are not two a pair"
            self._rewards.append(rewards.astype(np.float32))

    def finish(self) -> MaskedTokensSummary:
        """Flushes all files to the disk and gives them their names; the manifest of what they replace goes first."""
        summary = self._data.finish()
        path = Path(f"{self._data.prefix}.{_REWARDS}")
        if not (self._all_have_rewards and self._rewards):
            path.unlink(missing_ok=True)  # of the dataset that is replaced
            return summary
        with atomic_file(path, "wb") as stream:
            np.save(stream, np.concatenate(self._rewards))
        summary.files[_REWARDS] = record_file(path)
        return summary

    def abandon(self) -> None:
        """Closes and removes everything that was written."""
        self._data.abandon()

    def __enter__(self) -> "PreferenceWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None:
            self.abandon()


class PreferenceDataset:
    """Reads pairs. Opening reads the .idx files and the rewards; tokens are read when asked for.

    Attributes:
        manifest: The content of the manifest.
        pairs: How many there are.
        lengths: `int32[pairs, 2]`, tokens of the chosen and of the rejected side, mapped from the file.
        rewards: `float32[pairs, 2]` of chosen and rejected, or None where the records had none.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        """Opens PREFIX; see `open`."""
        self._data = MaskedTokens(prefix, (PREFERENCES,), STAGE)
        self.prefix = self._data.prefix
        self.manifest = self._data.manifest
        if len(self._data) % 2:
            raise UserError(f"{self.prefix}.idx: an odd number of sequences; run `redone {STAGE}` again")
        self.lengths = self._data.lengths.reshape(-1, 2)
        self.pairs = len(self.lengths)
        self.rewards = self._read_rewards()

    @classmethod
    def open(cls, prefix: str | os.PathLike[str]) -> "PreferenceDataset":
        """Opens PREFIX.

        Raises:
            UserError: nothing is there, it is of another kind, half-written, truncated or mixed from two runs.
        """
        return cls(prefix)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.prefix,)

    def tokens(self, pair: int, side: int) -> np.ndarray:
        """The ids of prompt and response of a pair's side, CHOSEN or REJECTED; `uint16[T]` or `int32[T]`, read-only."""
        return self._data.tokens(2 * pair + side)

    def loss_mask(self, pair: int, side: int) -> np.ndarray:
        """1 on the response of a pair's side, 0 on its prompt; `uint8[T]`, read-only."""
        return self._data.loss_mask(2 * pair + side)

    @property
    def source(self) -> str:
        """The source's name."""
        return self.manifest["source"]

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when a byte of any file does, taken from the manifest."""
        return self._data.fingerprint

    def close(self) -> None:
        """Closes the files."""
        self._data.close()

    def _read_rewards(self) -> np.ndarray | None:
        if _REWARDS not in file_records(self.manifest):
            return None
        path = f"{self.prefix}.{_REWARDS}"
        try:
            rewards = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{path}: not readable ({error}); run `redone {STAGE}` again with overwrite=true") from None
        if rewards.shape != (self.pairs, 2) or rewards.dtype != np.float32:
            raise UserError(f"{path}: not float32 [{self.pairs}, 2]; run `redone {STAGE}` again with overwrite=true")
        return rewards
