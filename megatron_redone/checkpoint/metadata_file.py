"""Reads what a distributed checkpoint says it holds, without running code that may stand there.

torch pickles it, and a pickle can call anything. Here the classes of torch's own metadata are taken, and nothing else.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata

from megatron_redone.errors import UserError

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
        raise UserError(f"{checkpoint}: not a distributed checkpoint, or damaged ({_FILE}: {reason})") from None
    if not isinstance(content, Metadata):
        raise UserError(f"{checkpoint}: not a distributed checkpoint ({_FILE} holds a {type(content).__name__})")
    return content


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in _NAMES:
            return super().find_class(module, name)
        if module in _MODULES and _is_own_class(module, found := super().find_class(module, name)):
            return found
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint needs")


def _is_own_class(module: str, found: Any) -> bool:
    """Defined in the module, and neither imported into it nor reached by a dotted name through what it imports."""
    return isinstance(found, type) and found.__module__ == module
