"""Looks at the small files of a distributed checkpoint before it is loaded, so that damage is one line."""

import json
import pickle
from pathlib import Path

import torch

from megatron_redone.checkpoint.metadata_file import read_metadata
from megatron_redone.errors import UserError

_FORMAT, _COMMON = "metadata.json", "common.pt"


def check_storage(checkpoint: Path) -> None:
    """Refuses a checkpoint whose description of itself cannot be read; reads no tensor.

    Raises:
        UserError: naming the file.
    """
    metadata = read_metadata(checkpoint)
    _check_format(checkpoint / _FORMAT)
    _check_common(checkpoint / _COMMON)
    stored = {info.relative_path for info in (metadata.storage_data or {}).values()}
    absent = sorted(name for name in stored if not (checkpoint / name).is_file())
    if absent:
        raise UserError(f"{checkpoint / absent[0]}: missing; take another checkpoint")


def _check_format(file: Path) -> None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, error) from None
    if not isinstance(content, dict) or content.get("sharded_backend") != "torch_dist":
        raise UserError(f"{file}: not that of a distributed checkpoint (sharded_backend is not torch_dist)")


def _check_common(file: Path) -> None:
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return UserError(f"{file}: missing or damaged ({reason}); take another checkpoint")
