"""Writes tensors to safetensors shards, block by block: no tensor need be in memory whole."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from megatron_redone.conversion.streaming import EarlyWriteBack, read_ahead
from megatron_redone.formats.folder_checksums import Block, BlockHasher
from megatron_redone.formats.safetensors_header import safetensors_header
from megatron_redone.model_folders.dtypes import SAFETENSORS_NAMES

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor that is going to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * self.dtype.itemsize


def assign_to_files(tensors: Iterable[PlannedTensor], max_size: int) -> dict[str, list[PlannedTensor]]:
    """Distributes tensors over files, in order; a file exceeds `max_size` bytes only with a single tensor.

    Returns:
        The tensors by the name of their file, as Hugging Face names them.
    """
    shards: list[list[PlannedTensor]] = []
    room = 0
    for tensor in tensors:
        if not shards or tensor.size > room:
            shards.append([])
            room = max_size
        shards[-1].append(tensor)
        room -= tensor.size
    if len(shards) == 1:
        return {"model.safetensors": shards[0]}
    count = len(shards)
    return {f"model-{number + 1:05d}-of-{count:05d}.safetensors": shard for number, shard in enumerate(shards)}


class ShardWriter:
    """Writes one file: first its header, then each tensor's blocks in the planned order."""

    def __init__(self, file: Path, tensors: list[PlannedTensor]) -> None:
        self._file, self._tensors = file, tensors

    def write(self, blocks: Iterator[torch.Tensor]) -> list[Block]:
        """Takes the rows of all tensors, in order, of the planned types; answers the checksums of the file."""
        hasher, header = BlockHasher(), _header(self._tensors)
        with open(self._file, "wb") as stream:
            stream.write(header)
            hasher.update(header)
            start = stream.tell()
            write_back = EarlyWriteBack(stream)
            for block in read_ahead(blocks):
                content = block.contiguous().view(-1).view(torch.uint8).numpy().data
                stream.write(content)
                hasher.update(content)
                write_back.step()
            assert stream.tell() - start == sum(tensor.size for tensor in self._tensors), "other rows than planned"
        return hasher.finish()


def write_index(folder: Path, shards: dict[str, list[PlannedTensor]]) -> None:
    """Writes the index file where there is more than one shard."""
    if len(shards) == 1:
        return
    total = sum(tensor.size for shard in shards.values() for tensor in shard)
    weight_map = {tensor.name: file for file, shard in shards.items() for tensor in shard}
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / INDEX).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _header(tensors: list[PlannedTensor]) -> bytes:
    planned = ((tensor.name, SAFETENSORS_NAMES[tensor.dtype], tensor.shape, tensor.size) for tensor in tensors)
    return safetensors_header({"format": "pt"}, planned)
