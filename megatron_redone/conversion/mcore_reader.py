"""Reads full weights from a megatron-core distributed checkpoint of any layout, some rows at a time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata

from megatron_redone.architectures.weights import FullWeight
from megatron_redone.checkpoint.checksums import read_checksums
from megatron_redone.checkpoint.chunk_reader import ChunkReader, Slices
from megatron_redone.checkpoint.metadata_file import read_metadata
from megatron_redone.checkpoint.rectangles import Rectangle, overlap
from megatron_redone.errors import UserError
from megatron_redone.model_folders.dtypes import WEIGHT_DTYPES

_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.+)")
_NO_WEIGHT = ("optimizer.", "rng_state", "chained_")
# What megatron-core's optimizers put before the key of a weight for its main weight: shared over data-parallel ranks,
# or whole on each.
_MAIN_WEIGHTS = ("optimizer.state.param.", "optimizer.state.fp32_param.")


@dataclass(frozen=True)
class Chunk:
    """A chunk as some rank wrote it: a rectangle of one full weight.

    Attributes:
        offsets: Of its first element in the full weight.
        sizes: Of the rectangle.
        stacked: Whether it lies in a tensor of all layers, with a dimension more.
        index: How the checkpoint calls it.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    stacked: bool
    index: MetadataIndex


@dataclass(frozen=True)
class Stored:
    """A full weight as the checkpoint holds it; rows may be more than the model has, with padding."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    chunks: tuple[Chunk, ...]


class CheckpointWeights:
    """The weights in a checkpoint, or the main weights of its optimizer; the rest of its state is not looked at."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        """Reads what the checkpoint says it holds.

        Args:
            folder: The checkpoint.
            prefix: What stands before the key of each weight.

        Raises:
            UserError: it is no distributed checkpoint of megatron-core.
        """
        self.folder = folder
        checksums = read_checksums(folder)
        checksums.check_small_files()
        self._metadata = read_metadata(folder)
        self._reader = ChunkReader(folder, self._metadata.storage_data or {}, checksums.of_blocks())
        self._weights = {name.removeprefix(prefix): stored for name, stored in self._find(prefix)}

    @property
    def dtypes(self) -> set[torch.dtype]:
        """The types in which weights are stored."""
        return {stored.dtype for stored in self._weights.values()}

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
        rows = torch.empty(last - first, *stored.shape[1:], dtype=stored.dtype)
        wanted = Rectangle(
            key=key,
            full_shape=stored.shape,
            offsets=(first, *(0 for _ in stored.shape[1:])),
            sizes=(last - first, *stored.shape[1:]),
        )
        filled = 0
        for chunk in stored.chunks:
            meeting = overlap(wanted, chunk.offsets, chunk.sizes)
            if meeting is not None:
                self._read_chunk(chunk, meeting[1], rows[meeting[0]])
                filled += rows[meeting[0]].numel()
        assert filled == rows.numel(), f"{key}: chunks do not cover rows {first} to {last}"
        return rows

    def _read_chunk(self, chunk: Chunk, part: Slices, target: torch.Tensor) -> None:
        if chunk.stacked:
            self._reader.read(chunk.index, (1, *chunk.sizes), (slice(0, 1), *part), target[None])
        else:
            self._reader.read(chunk.index, chunk.sizes, part, target)

    def _find(self, prefix: str) -> Iterator[tuple[str, Stored]]:
        for name, entry in self._metadata.state_dict_metadata.items():
            key = name.removeprefix(prefix)
            if not name.startswith(prefix) or key.startswith(_NO_WEIGHT) or "_extra_state" in key:
                continue
            if not isinstance(entry, TensorStorageMetadata):
                continue
            if key.startswith("decoder.layers.") and not _LAYER.fullmatch(key):
                yield from _stacked_layers(name, entry)
            else:
                yield name, Stored(tuple(entry.size), entry.properties.dtype, tuple(_chunks(name, entry)))


def read_main_weights(folder: Path) -> CheckpointWeights | None:
    """The fp32 main weights beside the bf16 weights of a run's checkpoint; None where there are none.

    Raises:
        UserError: it is no distributed checkpoint of megatron-core.
    """
    found = (CheckpointWeights(folder, prefix) for prefix in _MAIN_WEIGHTS)
    return next((weights for weights in found if weights.keys()), None)


def _stacked_layers(name: str, entry: TensorStorageMetadata) -> Iterator[tuple[str, Stored]]:
    """megatron-core puts equal layers on top of each other: the first dimension counts them."""
    layers: list[list[Chunk]] = [[] for _ in range(entry.size[0])]
    for chunk in _chunks(name, entry):
        assert chunk.sizes[0] == 1, f"{name}: a chunk of several layers"
        layers[chunk.offsets[0]].append(Chunk(chunk.offsets[1:], chunk.sizes[1:], True, chunk.index))
    for number, chunks in enumerate(layers):
        key = name.replace("decoder.layers.", f"decoder.layers.{number}.")
        yield key, Stored(tuple(entry.size[1:]), entry.properties.dtype, tuple(chunks))


def _chunks(name: str, entry: TensorStorageMetadata) -> Iterator[Chunk]:
    for number, chunk in enumerate(entry.chunks):
        yield Chunk(tuple(chunk.offsets), tuple(chunk.sizes), False, MetadataIndex(name, chunk.offsets, number))
