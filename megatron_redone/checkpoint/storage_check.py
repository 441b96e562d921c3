"""Reads the small files of a distributed checkpoint before its tensors, so that damage is one line, and writes them."""

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata

from megatron_redone.checkpoint.metadata_file import read_metadata
from megatron_redone.errors import DamageError, UserError
from megatron_redone.formats.atomic import atomic_file, write_json

_FORMAT, _COMMON = "metadata.json", "common.pt"
# How megatron-core knows which strategy reads a checkpoint (dist_checkpointing/core.py).
_STRATEGIES = {
    "sharded_backend": "torch_dist",
    "sharded_backend_version": 1,
    "common_backend": "torch",
    "common_backend_version": 1,
}


def write_common(checkpoint: Path, common: Mapping[str, Any]) -> None:
    """Writes what is the same on all ranks, and what kind of checkpoint it is.

    Raises:
        OSError: it could not be written.
    """
    content = io.BytesIO()
    torch.save(dict(common), content)  # to memory: torch's writer ends the process where a disk is full
    with atomic_file(checkpoint / _COMMON, "wb") as stream:
        stream.write(content.getbuffer())
    write_json(checkpoint / _FORMAT, _STRATEGIES)


def check_storage(checkpoint: Path) -> tuple[Metadata, dict[str, Any]]:
    """What a checkpoint says it holds, and what is common to all ranks; reads no tensor.

    Raises:
        UserError: naming the file that is missing or damaged.
    """
    metadata = read_metadata(checkpoint)
    _check_format(checkpoint / _FORMAT)
    common = _read_common(checkpoint / _COMMON)
    stored = {info.relative_path for info in (metadata.storage_data or {}).values()}
    absent = sorted(name for name in stored if not (checkpoint / name).is_file())
    if absent:
        raise DamageError(f"{checkpoint / absent[0]}: missing; take another checkpoint")
    return metadata, common


def _check_format(file: Path) -> None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, error) from None
    if not isinstance(content, dict) or content.get("sharded_backend") != "torch_dist":
        raise UserError(f"{file}: not that of a distributed checkpoint (sharded_backend is not torch_dist)")


def _read_common(file: Path) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise _damaged(file, error) from None
    if not isinstance(content, dict):
        raise DamageError(f"{file}: damaged (it holds no keys); take another checkpoint")
    return content


def _damaged(file: Path, error: Exception) -> DamageError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return DamageError(f"{file}: missing or damaged ({reason}); take another checkpoint")
