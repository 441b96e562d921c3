"""Writes full weights to a megatron-core distributed checkpoint, some rows at a time.

torch's own writer keeps every tensor of a file until the file is complete. Ours makes a block of rows when
its turn comes and forgets it; what a checkpoint says about itself is left to torch's planner.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from megatron_redone.architectures.families import MODULES_WITH_EXTRA_STATE
from megatron_redone.checkpoint.storage_check import write_common
from megatron_redone.conversion.row_blocks import row_blocks
from megatron_redone.conversion.streaming import EarlyWriteBack, read_ahead

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

    def blocks(self) -> Iterator[tuple[str, int, int, ChunkStorageMetadata]]:
        """Key, first and one-past-last row of each block, and where it lies in what is stored."""
        for layer, key in enumerate(self.keys):
            for first, last in row_blocks(0, self.shape[0], self.shape[1:]):
                offsets, sizes = (first, *(0 for _ in self.shape[1:])), (last - first, *self.shape[1:])
                if self.stacked:
                    offsets, sizes = (layer, *offsets), (1, *sizes)
                yield key, first, last, ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))

    @property
    def stored_shape(self) -> torch.Size:
        """The shape of all layers together."""
        return torch.Size((len(self.keys), *self.shape) if self.stacked else self.shape)


ReadRows = Callable[[str, int, int], torch.Tensor]
"""Rows `first` to `last` of the full weight with a key, in the type in which they are stored."""


def write_checkpoint(folder: Path, weights: list[StackedWeight], layers: int, read: ReadRows) -> None:
    """Writes a checkpoint that holds weights and nothing else; in one process, without process groups.

    Args:
        folder: Empty.
        weights: What is written.
        layers: Of the model.
        read: Gives the rows when their turn comes.

    Raises:
        UserError: from `read`.
        OSError: the disk is full, for example.
    """
    try:
        save({}, storage_writer=_Writer(folder), planner=_Planner(weights, layers, read), no_dist=True)
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from None
    # What Megatron-LM asks of any checkpoint. There is no iteration and no argument to restore.
    write_common(folder, {"checkpoint_version": 3.0, "iteration": 0})


class _Planner(DefaultSavePlanner):
    """Plans blocks of rows that do not exist yet."""

    def __init__(self, weights: list[StackedWeight], layers: int, read: ReadRows) -> None:
        super().__init__(flatten_state_dict=False)
        self._weights, self._layers, self._read = weights, layers, read
        self._sources: dict[MetadataIndex, tuple[str, int, int]] = {}

    def create_local_plan(self) -> SavePlan:
        self.plan = SavePlan([*self._tensor_items(), *self._object_items()])
        return self.plan

    def _tensor_items(self) -> Iterator[WriteItem]:
        for weight in self._weights:
            properties = TensorProperties(dtype=weight.dtype)
            for key, first, last, chunk in weight.blocks():
                index = MetadataIndex(weight.name, chunk.offsets)
                self._sources[index] = key, first, last
                data = TensorWriteData(chunk, properties, weight.stored_shape)
                yield WriteItem(index, WriteItemType.SHARD, tensor_data=data)

    def _object_items(self) -> Iterator[WriteItem]:
        # There is nothing to remember yet, and a load asks for it.
        for module in MODULES_WITH_EXTRA_STATE:
            for layer in range(self._layers):
                name = f"decoder.layers.{module}._extra_state/shard_{layer}_{self._layers}"
                yield WriteItem(MetadataIndex(name), WriteItemType.BYTE_IO)

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor | io.BytesIO:
        if write_item.tensor_data is None:
            stream = io.BytesIO()
            torch.save([None], stream)
            return stream
        return self._read(*self._sources[write_item.index]).view(write_item.tensor_data.chunk.sizes)


class _Writer(FileSystemWriter):
    """Writes item after item, and begins another file when one is large enough."""

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        results: list[WriteResult] = []
        items = read_ahead((item, planner.resolve_data(item)) for item in plan.items)
        number = 0
        while written := self._write_file(f"__0_{number}.distcp", items):
            results += written
            number += 1
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def _write_file(self, name: str, items: Iterator[tuple[WriteItem, torch.Tensor | io.BytesIO]]) -> list[WriteResult]:
        """Takes items until the file is large enough; none where there are none left."""
        results: list[WriteResult] = []
        with open(Path(self.path) / name, "wb") as stream:
            write_back = EarlyWriteBack(stream)
            for item, data in items:
                start = stream.tell()
                if isinstance(data, torch.Tensor):
                    torch.save(data, stream)
                else:
                    stream.write(data.getbuffer())
                write_back.step()
                storage = _StorageInfo(name, start, stream.tell() - start)
                results.append(WriteResult(index=item.index, size_in_bytes=storage.length, storage_data=storage))
                if stream.tell() >= _FILE_SIZE:
                    break
        if not results:
            (Path(self.path) / name).unlink()
        return results
