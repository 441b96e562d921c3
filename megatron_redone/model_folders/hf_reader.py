"""Reads tensors of a Hugging Face directory, no more of them than is asked for."""

import math
from pathlib import Path

import torch

from megatron_redone.architectures import Architecture
from megatron_redone.architectures.weights import FullWeight
from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import read_hf_checksums
from megatron_redone.model_folders.shape_checks import check_tensors
from megatron_redone.model_folders.tensor_files import Entry, Format, list_tensors
from megatron_redone.model_folders.tensor_names import EMBEDDING, HEAD, whole_names
from megatron_redone.model_folders.weight_files import find_weight_files

_ROWS = 4096  # compared at once


class HFWeights:
    """The tensors of a Hugging Face directory. Nothing is kept open or in memory between two reads."""

    def __init__(self, folder: Path, architecture: Architecture, *, allow_pickle: bool = False) -> None:
        """Finds the files, reads their headers, and compares them with what config.json says.

        Args:
            folder: With model.safetensors, or an index and its shards.
            architecture: What its config.json says.
            allow_pickle: Read pytorch_model.bin where there are no safetensors.

        Raises:
            UserError: no weights there, only pickled ones, files that are damaged or contradict each other, or a
                tensor that is missing, unknown, or of another shape than config.json says.
        """
        self.folder = folder
        self._checksums = read_hf_checksums(folder)
        self._format, held = list_tensors(find_weight_files(folder, allow_pickle=allow_pickle))
        headers = {entry.file: entry.start for entry in sorted(held.values(), key=lambda entry: -entry.start)}
        for file, end in headers.items():
            self._checksums.check_part(file.name, 0, end)
        names = whole_names(folder, held, architecture.tie_word_embeddings)
        self._entries = {names[name]: entry for name, entry in held.items() if name in names}
        check_tensors(folder, self._entries, architecture)
        if architecture.tie_word_embeddings and HEAD in self._entries:
            _check_tied(folder, self._format, self._entries.pop(HEAD), self._entries[EMBEDDING])

    def names(self) -> set[str]:
        """The tensors that are there, under their names in the whole model; a copy of a tied embedding is none."""
        return set(self._entries)

    def dtype(self, name: str) -> torch.dtype:
        """The type of a tensor."""
        return self._entries[name].dtype

    def read(self, name: str, first: int, last: int) -> torch.Tensor:
        """Rows of a tensor, in memory of their own.

        Raises:
            UserError: they are not those that were written.
        """
        self._check_rows(name, first, last)
        return self._format.read(self._entries[name], 0, first, last)

    def read_columns(self, name: str, first: int, last: int) -> torch.Tensor:
        """Columns of a matrix, in memory of their own.

        Raises:
            UserError: the matrix is not that which was written.
        """
        self._check_rows(name, 0, self._entries[name].shape[0])
        return self._format.read(self._entries[name], 1, first, last)

    def _check_rows(self, name: str, first: int, last: int) -> None:
        entry = self._entries[name]
        row = math.prod(entry.shape[1:]) * entry.dtype.itemsize
        self._checksums.check_part(entry.file.name, entry.start + first * row, entry.start + last * row)

    def read_rows_of(self, weight: FullWeight, first: int, last: int) -> torch.Tensor:
        """Rows of a full weight, put together."""
        parts = [self.read(part.name, part.first, part.last) for part in weight.cut(first, last)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _check_tied(folder: Path, kind: Format, head: Entry, embedding: Entry) -> None:
    """A head of its own in a tied model: transformers 5 keeps it, 4 takes the embedding for it."""
    for first in range(0, head.shape[0], _ROWS):
        one, other = (kind.read(entry, 0, first, min(first + _ROWS, head.shape[0])) for entry in (head, embedding))
        if not torch.equal(one.float(), other.float()):
            raise UserError(
                f"{folder}: {HEAD} differs from {EMBEDDING}, but config.json says tie_word_embeddings true; set it "
                "to false if the head is its own, or take the head away"
            )
