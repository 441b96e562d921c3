"""Writes what a distributed checkpoint says it holds, and reads it without running code that may stand there.

torch pickles it, and a pickle can call anything. Here the classes of torch's own metadata are taken, and nothing else.
"""

import enum
import math
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from megatron_redone.checkpoint.chunk_writer import Record
from megatron_redone.errors import DamageError, UserError
from megatron_redone.formats.atomic import atomic_file

_FILE = ".metadata"
# Modules of which every class may stand there, and what else may.
_MODULES = ("torch.distributed.checkpoint.metadata",)
_NAMES = {
    ("torch", "Size"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("megatron.core.dist_checkpointing.strategies.torch", "MCoreMetadata"),
    ("collections", "OrderedDict"),
    *((module, name) for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
}


def read_metadata(checkpoint: Path) -> Metadata:
    """What a checkpoint holds, and in which of its files.

    Raises:
        UserError: the file is missing, damaged, or names something that no checkpoint needs.
    """
    file = checkpoint / _FILE
    try:
        with open(file, "rb") as stream:
            content = _MetadataUnpickler(stream).load()
    except Exception as error:  # a damaged pickle raises what it likes
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DamageError(f"{checkpoint}: not a distributed checkpoint, or damaged ({_FILE}: {reason})") from None
    if not isinstance(content, Metadata):
        raise UserError(f"{checkpoint}: not a distributed checkpoint ({_FILE} holds a {type(content).__name__})")
    return content


def write_metadata(checkpoint: Path, records: Iterable[Record]) -> None:
    """Writes what the files of a checkpoint hold, as torch and megatron-core read it.

    Raises:
        OSError: it could not be written.
    """
    described: dict[str, Any] = {}
    storage = {}
    for record in records:
        number = _describe(described, record)
        index = MetadataIndex(record.key, record.offsets, number)
        storage[index] = _StorageInfo(record.file, record.start, record.length)
    for key, entry in described.items():
        _check_whole(key, entry)
    with atomic_file(checkpoint / _FILE, "wb") as stream:
        pickle.dump(Metadata(state_dict_metadata=described, storage_data=storage), stream)


def _describe(described: dict[str, Any], record: Record) -> int | None:
    """Adds a record to what its tensor consists of, and says the how-manieth it is."""
    if record.offsets is None:
        described[record.key] = BytesStorageMetadata()
        return None
    if record.key not in described:
        properties = TensorProperties(dtype=getattr(torch, record.dtype))
        described[record.key] = TensorStorageMetadata(properties, torch.Size(record.full_shape), [])
    chunks = described[record.key].chunks
    chunks.append(ChunkStorageMetadata(torch.Size(record.offsets), torch.Size(record.sizes)))
    return len(chunks) - 1


def _check_whole(key: str, entry: Any) -> None:
    """The ranks' parts must make up the tensor: nothing is missing, and nothing written twice."""
    if isinstance(entry, TensorStorageMetadata):
        held = sum(math.prod(chunk.sizes) for chunk in entry.chunks)
        assert held == math.prod(entry.size), f"{key}: the ranks hold {held:,} of {math.prod(entry.size):,} elements"


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _member
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in _NAMES:
            return super().find_class(module, name)
        if module in _MODULES and _is_own_class(module, found := super().find_class(module, name)):
            return found
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint needs")


def _member(kind: Any, name: Any) -> enum.Enum:
    """What Python 3.11.0 to 3.11.3 pickle a member of an enumeration as: `getattr` of its class and its name."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and isinstance(name, str):
        return kind[name]
    raise pickle.UnpicklingError("it calls builtins.getattr, which no checkpoint needs")


def _is_own_class(module: str, found: Any) -> bool:
    """Defined in the module, and neither imported into it nor reached by a dotted name through what it imports."""
    return isinstance(found, type) and found.__module__ == module
