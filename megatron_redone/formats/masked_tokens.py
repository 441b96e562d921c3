"""Token ids and, beside each of them, whether it is one to be learned.

    PREFIX.bin, .idx             the ids
    PREFIX.loss_mask.bin, .idx   uint8 of the same lengths: 1 where the token is to be learned
    PREFIX.loss_weights.npy      only where some tokens count less than in full: see `loss_weights`
    PREFIX.manifest.json         comes last; where it stands, the rest is complete

Both are indexed datasets (see `indexed`). Conversations and preferences are built on this.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import atomic_file
from megatron_redone.formats.file_record import FileRecord, record_file
from megatron_redone.formats.indexed import DatasetPaths, IndexedDataset, IndexedDatasetWriter, token_dtype
from megatron_redone.formats.loss_weights import FILE as WEIGHTS
from megatron_redone.formats.loss_weights import read_runs, weight_runs, weights_of
from megatron_redone.formats.manifest import check_files, file_records, fingerprint, manifest_path, read_manifest

_MASK = "loss_mask"


@dataclass(frozen=True)
class MaskedTokensSummary:
    """What a writer wrote. `files` and `checksums` go by what follows `PREFIX.` in a name."""

    sequences: int
    tokens: int
    trained_tokens: int
    dtype: str
    files: dict[str, FileRecord]
    checksums: dict[str, FileRecord]


class MaskedTokensWriter:
    """Writes ids and masks; they appear under their names only when `finish` has flushed all of them.

    The manifest is for the caller to write, after `finish`. Used as a context manager it removes its
    partial files when the body raises.
    """

    def __init__(self, prefix: str | os.PathLike[str], vocab_size: int) -> None:
        """Opens the partial files.

        Args:
            prefix: The dataset's path without suffix; its folder is made.
            vocab_size: Of the tokenizer; decides the type of the ids.
        """
        self.prefix = os.fspath(prefix)
        self._ids = IndexedDatasetWriter(self.prefix, token_dtype(vocab_size), checksum=True)
        self._mask = IndexedDatasetWriter(f"{self.prefix}.{_MASK}", np.uint8, checksum=True)
        self._trained = 0
        self._runs: list[np.ndarray] = []

    def add(
        self,
        tokens: np.ndarray,
        loss_mask: np.ndarray,
        lengths: np.ndarray,
        sequences_per_document: np.ndarray | None = None,
    ) -> None:
        """Appends sequences.

        Args:
            tokens: Integer ids of all sequences, one after the other, `[sum(lengths)]`.
            loss_mask: `uint8` of the same shape, 0 or 1; or loss weights, `float32`, from 0 to 1.
            lengths: Tokens of each sequence, `[S]`.
            sequences_per_document: Sequences of each document, `[D]`; None where each sequence is one.
        """
        assert len(tokens) == len(loss_mask), "ids and mask differ in length"
        if loss_mask.dtype == np.float32:
            self._runs.append(weight_runs(loss_mask, lengths, self._ids.sequences))
            loss_mask = (loss_mask > 0).astype(np.uint8)
        self._ids.add(tokens, lengths, sequences_per_document)
        self._mask.add(loss_mask, lengths, sequences_per_document)
        self._trained += int(np.count_nonzero(loss_mask))

    def finish(self) -> MaskedTokensSummary:
        """Flushes all files to the disk and gives them their names; the manifest of what they replace goes first."""
        manifest_path(self.prefix).unlink(missing_ok=True)
        files, checksums = self._finish_weights(), dict[str, FileRecord]()
        # The masks first: ids without masks beside them are another tool's dataset, not a half-written one.
        for kind, writer in ((f"{_MASK}.", self._mask), ("", self._ids)):
            summary = writer.finish()
            files |= {f"{kind}{suffix}": record for suffix, record in summary.files.items()}
            checksums |= {f"{kind}{suffix}": record for suffix, record in summary.checksums.items()}
        counts = (self._ids.sequences, self._ids.tokens, self._trained)
        return MaskedTokensSummary(*counts, self._ids.dtype.name, files, checksums)

    def _finish_weights(self) -> dict[str, FileRecord]:
        path = Path(f"{self.prefix}.{WEIGHTS}")
        if not any(map(len, self._runs)):
            path.unlink(missing_ok=True)  # of the dataset that is replaced
            return {}
        with atomic_file(path, "wb") as stream:
            np.save(stream, np.concatenate(self._runs))
        return {WEIGHTS: record_file(path)}

    def abandon(self) -> None:
        """Closes and removes everything that was written."""
        self._ids.abandon()
        self._mask.abandon()

    def __enter__(self) -> "MaskedTokensWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None:
            self.abandon()


class MaskedTokens:
    """Reads ids and masks. Opening reads the .idx files; tokens are read when asked for.

    Attributes:
        manifest: The content of the manifest.
        lengths: `int32[S]`, tokens of each sequence, mapped from the file.
        is_weighted: Whether some tokens have a loss weight between 0 and 1.
    """

    def __init__(self, prefix: str | os.PathLike[str], formats: tuple[str, ...], stage: str) -> None:
        """Opens a dataset and checks that its files are whole and fit each other.

        Args:
            prefix: The dataset's path without suffix.
            formats: The manifest's formats that are expected.
            stage: The command that writes such a dataset, for the messages.

        Raises:
            UserError: nothing is there, it is of another kind, half-written, truncated or mixed from two runs.
        """
        self.prefix = os.fspath(DatasetPaths.of(prefix).bin)[:-4]
        self._arguments = (self.prefix, formats, stage)
        self.manifest = _checked_manifest(self.prefix, formats, stage)
        self._ids = IndexedDataset(self.prefix, random_access=True)
        self._mask = IndexedDataset(f"{self.prefix}.{_MASK}", random_access=True)
        for index in (self._ids, self._mask):
            index.check_index()
        self.lengths = self._ids.sequence_lengths
        if self._mask.dtype != np.uint8 or not np.array_equal(self.lengths, self._mask.sequence_lengths):
            raise UserError(
                f"{self._mask.paths.idx}: does not fit {self._ids.paths.idx}; run `redone {stage}` again with "
                "overwrite=true"
            )
        self.is_weighted = WEIGHTS in file_records(self.manifest)
        self._runs = read_runs(Path(f"{self.prefix}.{WEIGHTS}"), self.lengths) if self.is_weighted else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments  # a process that is handed the dataset opens it for itself

    def __len__(self) -> int:
        """The number of sequences."""
        return len(self._ids)

    def tokens(self, sequence: int) -> np.ndarray:
        """The token ids of a sequence, `uint16[T]` or `int32[T]`, read-only."""
        return self._ids[sequence]

    def loss_mask(self, sequence: int) -> np.ndarray:
        """1 where the token of a sequence is to be learned, else 0; `uint8[T]`, read-only."""
        return self._mask[sequence]

    def loss_weights(self, sequence: int) -> np.ndarray:
        """What the loss of each token counts: `float32[T]` where a sequence has weights, else its mask; read-only."""
        mask = self.loss_mask(sequence)
        return mask if self._runs is None else weights_of(self._runs, sequence, mask)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when a byte of any file does, taken from the manifest."""
        return fingerprint(self.manifest)

    def close(self) -> None:
        """Closes the files."""
        self._ids.close()
        self._mask.close()


def is_half_written(prefix: str | os.PathLike[str]) -> bool:
    """Whether a writer was stopped between its first file and its manifest."""
    masks = DatasetPaths.of(f"{os.fspath(prefix)}.{_MASK}")
    return masks.idx.exists() and not manifest_path(prefix).exists()


def _checked_manifest(prefix: str, formats: tuple[str, ...], stage: str) -> dict[str, Any]:
    manifest = read_manifest(prefix)
    if manifest is None:
        state = "half-written" if is_half_written(prefix) else "missing"
        raise UserError(f"{manifest_path(prefix)}: the dataset is {state}; write it with `redone {stage}`")
    if manifest["format"] not in formats:
        raise UserError(
            f"{manifest_path(prefix)}: holds {manifest['format']}, not {formats[0]}, which `redone {stage}` writes"
        )
    check_files(prefix, manifest, f"run `redone {stage}` again with overwrite=true")
    return manifest
