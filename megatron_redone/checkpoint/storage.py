"""Saves what every rank holds, and loads what a rank needs, in megatron-core's distributed checkpoint format.

No values travel between ranks: each writes its own rectangles of the full tensors into a file of its own, and each
reads those parts of any file that belong to it. Only the description of what was written is sent to the main rank.
"""

import pickle
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata

from megatron_redone.checkpoint.checksums import FileBlocks, read_checksums
from megatron_redone.checkpoint.chunk_reader import ChunkReader, Slices
from megatron_redone.checkpoint.chunk_writer import ChunkWriter, Record, blocks_of
from megatron_redone.checkpoint.metadata_file import write_metadata
from megatron_redone.checkpoint.rectangles import Rectangle, overlap
from megatron_redone.checkpoint.storage_check import check_storage, write_common
from megatron_redone.checkpoint.values import Values
from megatron_redone.distributed.collectives import broadcast_from_main, gather_to_main
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import disk_reason


@dataclass(frozen=True, kw_only=True)
class RankState:
    """What one rank writes.

    Attributes:
        values: Ranges of tensors; over all ranks they make up each of them once.
        objects: Values that are no tensors, by their keys, each written by one rank.
        common: What is the same on all ranks; the main one writes it.
    """

    values: Sequence[Values]
    objects: Mapping[str, Any] = field(default_factory=dict)
    common: Mapping[str, Any] = field(default_factory=dict)


def save_sharded(state: RankState, folder: Path) -> FileBlocks:
    """Writes this rank's part of a checkpoint; called by all ranks, with one empty folder that all see.

    Returns:
        On the main rank the checksums of the files that all ranks have written; nothing on the others.

    Raises:
        UserError: writing failed on some rank; raised on all of them.
    """
    packed, problem = b"", None
    try:
        packed = zlib.compress(pickle.dumps(_write_values(state, folder / f"__{_own_rank()}_0.distcp")))
    except OSError as error:
        problem = disk_reason(error)
    everyones = gather_to_main((packed, problem))
    blocks, problem = _finish(everyones, state.common, folder) if everyones is not None else ({}, None)
    problem = broadcast_from_main(problem)
    if problem is not None:
        raise UserError(f"{folder}: the checkpoint could not be written ({problem})")
    return blocks


def _own_rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _write_values(state: RankState, file: Path) -> list[Record]:
    with ChunkWriter(file) as writer:
        for values in state.values:
            for rectangle, tensor in values.pieces():
                writer.write(rectangle, tensor)
        for key, content in state.objects.items():
            writer.write_object(key, content)
        writer.flush()
    if not writer.records:
        file.unlink()
    return writer.records


def _finish(
    everyones: list[tuple[bytes, str | None]], common: Mapping[str, Any], folder: Path
) -> tuple[FileBlocks, str | None]:
    """Describes what all ranks have written, on the main one; answers the checksums, or why it could not be."""
    problems = [f"{problem}; rank {rank}" for rank, (_, problem) in enumerate(everyones) if problem is not None]
    if problems:
        return {}, problems[0]
    records = [record for packed, _ in everyones for record in pickle.loads(zlib.decompress(packed))]
    try:
        write_common(folder, common)
        write_metadata(folder, records)
    except OSError as error:
        return {}, disk_reason(error)
    return blocks_of(records), None


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
