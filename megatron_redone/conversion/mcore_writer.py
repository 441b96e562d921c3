"""Writes full weights to a megatron-core distributed checkpoint, some rows at a time.

torch's own writer keeps every tensor of a file until the file is complete. Ours makes a block of rows when
its turn comes and forgets it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from megatron_redone.architectures.families import MODULES_WITH_EXTRA_STATE
from megatron_redone.checkpoint.chunk_writer import ChunkWriter, Record, blocks_of
from megatron_redone.checkpoint.metadata_file import write_metadata
from megatron_redone.checkpoint.rectangles import Rectangle
from megatron_redone.checkpoint.storage_check import write_common
from megatron_redone.conversion.row_blocks import row_blocks
from megatron_redone.conversion.streaming import EarlyWriteBack, read_ahead
from megatron_redone.formats.folder_checksums import FileBlocks

_FILE_SIZE = 4 * 2**30


@dataclass(frozen=True, kw_only=True)
class StackedWeight:
    """A weight as it is stored: those of equal layers lie on top of each other, as megatron-core has it.

    Attributes:
        name: The stored name: the key without the number of the layer.
        keys: The full weights, one a layer; one alone where the weight belongs to no layer.
        stacked: Whether the first dimension counts layers.
        shape: Of one full weight, padding included.
        dtype: Of all.
    """

    name: str
    keys: tuple[str, ...]
    stacked: bool
    shape: tuple[int, ...]
    dtype: torch.dtype

    def blocks(self) -> Iterator[tuple[str, int, int, Rectangle]]:
        """Key, first and one-past-last row of each block, and where it lies in what is stored."""
        for layer, key in enumerate(self.keys):
            for first, last in row_blocks(0, self.shape[0], self.shape[1:]):
                offsets, sizes = (first, *(0 for _ in self.shape[1:])), (last - first, *self.shape[1:])
                if self.stacked:
                    offsets, sizes = (layer, *offsets), (1, *sizes)
                yield (
                    key,
                    first,
                    last,
                    Rectangle(key=self.name, full_shape=self.stored_shape, offsets=offsets, sizes=sizes),
                )

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of all layers together."""
        return (len(self.keys), *self.shape) if self.stacked else self.shape


ReadRows = Callable[[str, int, int], torch.Tensor]
"""Rows `first` to `last` of the full weight with a key, in the type in which they are stored."""


def write_checkpoint(folder: Path, weights: list[StackedWeight], layers: int, read: ReadRows) -> FileBlocks:
    """Writes a checkpoint that holds weights and nothing else; in one process, without process groups.

    Args:
        folder: Empty, or with a record alone.
        weights: What is written.
        layers: Of the model.
        read: Gives the rows when their turn comes.

    Returns:
        The checksums of the files with weights.

    Raises:
        UserError: from `read`.
        OSError: the disk is full, for example.
    """
    records: list[Record] = []
    blocks = read_ahead((place, read(key, first, last)) for key, first, last, place in _in_order(weights))
    while written := _write_file(folder / f"__0_{len({record.file for record in records})}.distcp", blocks):
        records += written
    records += _write_objects(folder / "__0_objects.distcp", layers)
    write_metadata(folder, records)
    # What Megatron-LM asks of any checkpoint. There is no iteration and no argument to restore.
    write_common(folder, {"checkpoint_version": 3.0, "iteration": 0})
    return blocks_of(records)


def _in_order(weights: list[StackedWeight]) -> Iterator[tuple[str, int, int, Rectangle]]:
    for weight in weights:
        yield from weight.blocks()


def _write_file(file: Path, blocks: Iterator[tuple[Rectangle, torch.Tensor]]) -> list[Record]:
    """Takes blocks until the file is large enough; none where there are none left."""
    with ChunkWriter(file) as writer:
        write_back = EarlyWriteBack(writer.stream)
        for place, rows in blocks:
            writer.write(place, rows.contiguous().view(-1))
            write_back.step()
            if writer.stream.tell() >= _FILE_SIZE:
                break
    if not writer.records:
        file.unlink()
    return writer.records


def _write_objects(file: Path, layers: int) -> list[Record]:
    """There is nothing to remember yet, and a load asks for it."""
    with ChunkWriter(file) as writer:
        for module in MODULES_WITH_EXTRA_STATE:
            for layer in range(layers):
                writer.write_object(f"decoder.layers.{module}._extra_state/shard_{layer}_{layers}", None)
    return writer.records
