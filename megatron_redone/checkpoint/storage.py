"""Loads what a rank needs from a checkpoint in megatron-core's distributed format, on whatever layout it was written.

No values travel between ranks: each reads those parts of any file that belong to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata

from megatron_redone.checkpoint.checksums import read_checksums
from megatron_redone.checkpoint.chunk_reader import ChunkReader, Slices
from megatron_redone.checkpoint.rectangles import Rectangle, overlap
from megatron_redone.checkpoint.storage_check import check_storage
from megatron_redone.checkpoint.values import Values
from megatron_redone.errors import UserError


class StoredState:
    """A checkpoint from which a rank reads its part, whatever the layout that wrote it. Waits for no other rank."""

    def __init__(self, folder: Path) -> None:
        """Reads what the checkpoint says it holds.

        Raises:
            UserError: a small file of it is missing or damaged.
        """
        self._folder = folder
        checksums = read_checksums(folder)
        checksums.check_small_files()
        metadata, self.common = check_storage(folder)
        self._described = metadata.state_dict_metadata
        self._reader = ChunkReader(folder, metadata.storage_data, checksums.of_blocks())
        self._chunks: dict[str, _Chunks] = {}

    def __enter__(self) -> "StoredState":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def __contains__(self, key: str) -> bool:
        return key in self._described

    def dtype(self, key: str) -> torch.dtype | None:
        """The type in which a tensor is stored; None where there is none of the name."""
        entry = self._described.get(key)
        return entry.properties.dtype if isinstance(entry, TensorStorageMetadata) else None

    def read_object(self, key: str) -> Any:
        """A value that is no tensor.

        Raises:
            UserError: it is missing or damaged.
        """
        if key not in self._described:
            raise self._unreadable(f"{key} is missing")
        return self._reader.read_object(MetadataIndex(key))

    def fill(self, wanted: Iterable[Values]) -> None:
        """Reads values into the memory that stands for them; rows that are padding here alone become zero.

        Raises:
            UserError: a tensor is missing or has another shape, or a file is damaged.
        """
        jobs = [
            job for values in wanted for rectangle, target in values.pieces() for job in self._jobs(rectangle, target)
        ]
        # In the order in which they lie, so that every block is read once.
        for job in sorted(jobs, key=lambda job: self._reader.place(job.index)):
            self._read(job)

    def _jobs(self, rectangle: Rectangle, target: torch.Tensor) -> Iterable["_Job"]:
        entry = self._tensor(rectangle)
        if rectangle.key not in self._chunks:
            self._chunks[rectangle.key] = _Chunks(rectangle.key, entry)
        shaped, found, covered = target.view(rectangle.sizes), [], 0
        for offsets, sizes, index in self._chunks[rectangle.key].near(rectangle):
            meeting = overlap(rectangle, offsets, sizes)
            if meeting is not None:
                job = _Job(index, sizes, meeting[1], shaped[meeting[0]], entry.properties.dtype)
                found.append(job)
                covered += job.target.numel()
        if covered < rectangle.count:
            if not rectangle.is_padded:
                raise self._unreadable(f"{rectangle.key}: parts of it are missing")
            target.zero_()
        return found

    def _tensor(self, rectangle: Rectangle) -> TensorStorageMetadata:
        entry = self._described.get(rectangle.key)
        if not isinstance(entry, TensorStorageMetadata):
            raise self._unreadable(f"{rectangle.key} is missing")
        shape, needed = tuple(entry.size), rectangle.full_shape
        if shape != needed and not (rectangle.is_padded and shape[1:] == needed[1:]):
            raise self._unreadable(f"{rectangle.key} has the shape {shape}, the model needs {needed}")
        return entry

    def _read(self, job: "_Job") -> None:
        if job.target.dtype == job.dtype:
            self._reader.read(job.index, job.sizes, job.part, job.target)
            return
        stored = torch.empty(job.target.shape, dtype=job.dtype)
        self._reader.read(job.index, job.sizes, job.part, stored)
        job.target.copy_(stored)

    def _unreadable(self, reason: str) -> UserError:
        return UserError(f"{self._folder}: the checkpoint could not be read ({reason})")


@dataclass(frozen=True)
class _Job:
    """A part of a record, and where it is to go."""

    index: MetadataIndex
    sizes: tuple[int, ...]
    part: Slices
    target: torch.Tensor
    dtype: torch.dtype


_Chunk = tuple[tuple[int, ...], tuple[int, ...], MetadataIndex]


class _Chunks:
    """The chunks of one tensor; where layers lie on top of each other, those of each by themselves."""

    def __init__(self, key: str, entry: TensorStorageMetadata) -> None:
        self._of_layer: dict[int, list[_Chunk]] = {}
        self._across: list[_Chunk] = []
        for number, chunk in enumerate(entry.chunks):
            offsets, sizes = tuple(chunk.offsets), tuple(chunk.sizes)
            is_of_layer = len(sizes) > 1 and sizes[0] == 1
            group = self._of_layer.setdefault(offsets[0], []) if is_of_layer else self._across
            group.append((offsets, sizes, MetadataIndex(key, chunk.offsets, number)))

    def near(self, rectangle: Rectangle) -> Iterable[_Chunk]:
        """Those that may meet a rectangle."""
        yield from self._across
        for layer in range(rectangle.offsets[0], rectangle.offsets[0] + rectangle.sizes[0]):
            yield from self._of_layer.get(layer, ())
