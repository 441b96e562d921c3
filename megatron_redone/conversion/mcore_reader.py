"""Reads full weights from a megatron-core distributed checkpoint of any layout, some rows at a time.

torch's own reader loads the whole chunk that a rank has written and then copies from it; a chunk may be
an embedding of gigabytes. A chunk is a zip archive with the numbers uncompressed in it, so that any rows
of it can be read from where they lie in the file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.utils import _create_file_view

from megatron_redone.architectures.weights import FullWeight
from megatron_redone.checkpoint.metadata_file import read_metadata
from megatron_redone.errors import UserError
from megatron_redone.model_folders.dtypes import WEIGHT_DTYPES

_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.+)")
_NO_WEIGHT = ("optimizer.", "rng_state", "chained_")


@dataclass(frozen=True)
class Chunk:
    """A chunk as some rank wrote it: rows and columns of one full weight, and where its numbers lie.

    Attributes:
        first_row: In the full weight.
        first_column: In the full weight; 0 for a vector.
        shape: Rows and columns of the chunk; a vector has one column.
        index: How the checkpoint calls it.
    """

    first_row: int
    first_column: int
    shape: tuple[int, int]
    index: MetadataIndex


@dataclass(frozen=True)
class Stored:
    """A full weight as the checkpoint holds it; rows may be more than the model has, with padding."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    chunks: tuple[Chunk, ...]


class CheckpointWeights:
    """The weights in a checkpoint; optimizer state is not looked at."""

    def __init__(self, folder: Path) -> None:
        """Reads what the checkpoint says it holds.

        Raises:
            UserError: it is no distributed checkpoint of megatron-core.
        """
        self.folder = folder
        self._metadata = read_metadata(folder)
        self._weights = dict(self._find())

    def keys(self) -> list[str]:
        """The keys of the full weights that are there."""
        return list(self._weights)

    def dtype(self, key: str) -> torch.dtype:
        """The type in which a full weight is stored."""
        return self._weights[key].dtype

    def check(self, weights: dict[str, FullWeight]) -> None:
        """Refuses a checkpoint that does not hold exactly the weights of a model.

        Raises:
            UserError: naming the first weight that is missing, unknown, or of another shape.
        """
        missing = [key for key in weights if key not in self._weights]
        if missing:
            raise UserError(f"{self.folder}: {missing[0]} is missing ({len(missing)} of {len(weights)} weights are)")
        unknown = [key for key in self._weights if key not in weights]
        if unknown:
            raise UserError(
                f"{self.folder}: holds {unknown[0]}, for which the model's family has no Hugging Face tensor; "
                f"nothing is left out in silence ({len(unknown)} such weights)"
            )
        for key, weight in weights.items():
            self._check_shape(key, weight)

    def _check_shape(self, key: str, weight: FullWeight) -> None:
        stored, needed = self._weights[key], weight.shape
        fits = stored.shape == needed or (
            weight.padded and stored.shape[0] >= needed[0] and stored.shape[1:] == needed[1:]
        )
        if not fits:
            raise UserError(f"{self.folder}: {key} is {stored.shape}, the model's config.json says {needed}")
        if stored.dtype not in WEIGHT_DTYPES:
            raise UserError(f"{self.folder}: {key} is {stored.dtype}, which is no type of weights")

    def read(self, key: str, first: int, last: int) -> torch.Tensor:
        """Rows of a full weight.

        Raises:
            UserError: a file of the checkpoint is missing or truncated.
        """
        stored = self._weights[key]
        matrix = torch.empty(last - first, *(stored.shape[1:] or (1,)), dtype=stored.dtype)
        filled = 0
        for chunk in stored.chunks:
            begin, end = max(first, chunk.first_row), min(last, chunk.first_row + chunk.shape[0])
            if begin < end:
                columns = slice(chunk.first_column, chunk.first_column + chunk.shape[1])
                part = matrix[begin - first : end - first, columns]
                self._read_chunk(chunk, begin - chunk.first_row, part)
                filled += part.numel()
        assert filled == matrix.numel(), f"{key}: chunks do not cover rows {first} to {last}"
        return matrix.view(last - first, *stored.shape[1:])

    def _read_chunk(self, chunk: Chunk, first: int, target: torch.Tensor) -> None:
        """Fills a matrix with the rows of a chunk from `first` on."""
        storage = self._metadata.storage_data[chunk.index]  # type: ignore[index]
        file = self.folder / storage.relative_path
        rows = target if target.is_contiguous() else torch.empty_like(target, memory_format=torch.contiguous_format)
        try:
            with open(file, "rb", buffering=0) as stream:
                start = _start_of_numbers(stream, storage, chunk, target.dtype)
                stream.seek(start + first * chunk.shape[1] * target.itemsize)
                taken = stream.readinto(rows.view(torch.uint8).numpy().data)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{file}: missing, truncated or damaged ({reason})") from None
        if taken != rows.nbytes:
            raise UserError(f"{file}: truncated")
        if rows is not target:
            target.copy_(rows)

    def _find(self) -> Iterator[tuple[str, Stored]]:
        for name, entry in self._metadata.state_dict_metadata.items():
            if not isinstance(entry, TensorStorageMetadata) or name.startswith(_NO_WEIGHT) or "_extra_state" in name:
                continue
            if name.startswith("decoder.layers.") and not _LAYER.fullmatch(name):
                yield from _stacked_layers(name, entry)
            else:
                yield name, _stored(tuple(entry.size), entry, list(_chunks(name, entry)))


def _stacked_layers(name: str, entry: TensorStorageMetadata) -> Iterator[tuple[str, Stored]]:
    """megatron-core puts equal layers on top of each other: the first dimension counts them."""
    layers: list[list[tuple[tuple[int, ...], tuple[int, ...], MetadataIndex]]] = [[] for _ in range(entry.size[0])]
    for offsets, sizes, index in _chunks(name, entry):
        assert sizes[0] == 1, f"{name}: a chunk of several layers"
        layers[offsets[0]].append((offsets[1:], sizes[1:], index))
    for number, chunks in enumerate(layers):
        key = name.replace("decoder.layers.", f"decoder.layers.{number}.")
        yield key, _stored(tuple(entry.size[1:]), entry, chunks)


def _chunks(
    name: str, entry: TensorStorageMetadata
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], MetadataIndex]]:
    for number, chunk in enumerate(entry.chunks):
        yield tuple(chunk.offsets), tuple(chunk.sizes), MetadataIndex(name, chunk.offsets, number)


def _stored(
    shape: tuple[int, ...],
    entry: TensorStorageMetadata,
    chunks: list[tuple[tuple[int, ...], tuple[int, ...], MetadataIndex]],
) -> Stored:
    held = tuple(
        Chunk(offsets[0], (*offsets, 0)[1], (sizes[0], (*sizes, 1)[1]), index) for offsets, sizes, index in chunks
    )
    return Stored(shape, entry.properties.dtype, held)


def _start_of_numbers(stream: Any, storage: Any, chunk: Chunk, dtype: torch.dtype) -> int:
    """Where in the file the numbers of a chunk begin."""
    if getattr(storage, "transform_descriptors", None):
        raise RuntimeError("stored through a transformation such as compression")
    archive: Any = torch._C.PyTorchFileReader(_create_file_view(stream, storage.offset, storage.length))  # type: ignore
    start = archive.get_record_offset("data/0")
    if start + chunk.shape[0] * chunk.shape[1] * dtype.itemsize > storage.length:
        raise RuntimeError("fewer numbers than the chunk should have")
    return storage.offset + start
