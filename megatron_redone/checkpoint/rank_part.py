"""What one rank writes of a checkpoint, and how the parts of all ranks become one.

No values travel between ranks: each writes its own rectangles of the full tensors into a file of its own. Only the
description of what was written is sent to the main rank.
"""

import pickle
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist

from megatron_redone.checkpoint.chunk_writer import ChunkWriter, Record, blocks_of
from megatron_redone.checkpoint.metadata_file import write_metadata
from megatron_redone.checkpoint.storage_check import write_common
from megatron_redone.checkpoint.values import Values
from megatron_redone.formats.folder_checksums import FileBlocks


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


class GivenUpError(OSError):
    """A save that is not wanted any more is not written further."""


def write_part(state: RankState, folder: Path, check_wanted: Callable[[], None]) -> bytes:
    """Writes this rank's file, and waits until it is on the disk.

    Args:
        state: What goes into it.
        folder: Of the checkpoint; all ranks see it.
        check_wanted: Called before each rectangle; raises GivenUpError where the save is not wanted any more.

    Returns:
        What was written and where, for `join_parts`.

    Raises:
        OSError: it could not be written, or is given up.
    """
    return zlib.compress(pickle.dumps(_write(state, folder / f"__{_own_rank()}_0.distcp", check_wanted)))


def _own_rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _write(state: RankState, file: Path, check_wanted: Callable[[], None]) -> list[Record]:
    with ChunkWriter(file) as writer:
        for values in state.values:
            for rectangle, tensor in values.pieces():
                check_wanted()
                writer.write(rectangle, tensor)
        for key, content in state.objects.items():
            writer.write_object(key, content)
        writer.flush()
    if not writer.records:
        file.unlink()
    return writer.records


def join_parts(parts: Iterable[bytes], common: Mapping[str, Any], folder: Path) -> FileBlocks:
    """Describes what all ranks have written; on the main one. Answers the checksums of their files.

    Raises:
        OSError: it could not be written.
    """
    records = [record for part in parts for record in pickle.loads(zlib.decompress(part))]
    write_common(folder, common)
    write_metadata(folder, records)
    return blocks_of(records)
