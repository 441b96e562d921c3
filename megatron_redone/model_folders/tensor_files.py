"""Files that hold tensors: what is in them, and parts of it."""

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from megatron_redone.errors import UserError
from megatron_redone.model_folders.dtypes import DTYPES
from megatron_redone.model_folders.weight_files import WeightFiles


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies, under which name, and what it is; `start` is its first byte in a safetensors file."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int = 0


class Format(Protocol):
    """A kind of file that holds tensors."""

    def entries(self, file: Path) -> dict[str, Entry]:
        """What a file holds; no tensor is read."""
        ...

    def read(self, entry: Entry, dim: int, first: int, last: int) -> torch.Tensor:
        """Indices `first` to `last` of a tensor along a dimension."""
        ...


def list_tensors(files: WeightFiles) -> tuple[Format, dict[str, Entry]]:
    """Every tensor of a model folder by its name there.

    Raises:
        UserError: a damaged file, a tensor in two files, or files that do not hold what the index says.
    """
    kind = PickledFormat() if files.pickled else SafetensorsFormat()
    found: dict[str, Entry] = {}
    for file, names in files.names.items():
        held = kind.entries(file)
        _check_index(file, held.keys(), names)
        twice = sorted(held.keys() & found.keys())
        if twice:
            raise UserError(f"{file}: {twice[0]} is there, and in {found[twice[0]].file.name} too; take one away")
        found.update(held)
    return kind, found


def _check_index(file: Path, held: Any, names: set[str] | None) -> None:
    if names is None:
        return
    absent, unnamed = sorted(names - held), sorted(held - names)
    if absent:
        raise UserError(f"{file}: lacks {absent[0]}, which the index says is there; download it again")
    if unnamed:
        raise UserError(f"{file}: holds {unnamed[0]}, which the index does not say; download both again")


class SafetensorsFormat:
    """Files that hold tensors and nothing else."""

    def entries(self, file: Path) -> dict[str, Entry]:
        """Reads the header."""
        found = {}
        with _opened(file) as handle:
            starts = _starts(file)
            _check_framework(file, handle.metadata())
            for name in handle.keys():  # noqa: SIM118 - it is no dictionary
                part = handle.get_slice(name)
                dtype = DTYPES.get(part.get_dtype())
                if dtype is None:
                    raise UserError(f"{file}: {name} is of the type {part.get_dtype()}, which is not supported")
                found[name] = Entry(file, name, tuple(part.get_shape()), dtype, starts[name])
        return found

    def read(self, entry: Entry, dim: int, first: int, last: int) -> torch.Tensor:
        """Opens the file anew: pages that were read count as this process's memory for as long as it is open."""
        with _opened(entry.file) as handle:
            part = handle.get_slice(entry.name)
            return (part[first:last] if dim == 0 else part[:, first:last]).clone()


def _starts(file: Path) -> dict[str, int]:
    """The first byte of each tensor in a file whose header safetensors has checked."""
    with open(file, "rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    return {name: 8 + size + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}


def _check_framework(file: Path, metadata: dict[str, str] | None) -> None:
    """transformers 4 turns what other frameworks have written around."""
    framework = (metadata or {}).get("format", "pt")
    if framework not in ("pt", "mlx"):
        raise UserError(f"{file}: says that {framework!r} wrote it; only PyTorch's weights are read")


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, "pt") as handle:
            yield handle
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: truncated or damaged ({' '.join(str(error).split())}); download it again") from None


class PickledFormat:
    """What torch.save wrote, read without running code from it."""

    def entries(self, file: Path) -> dict[str, Entry]:
        """Reads the whole structure; tensors stay on the disk."""
        tensors = _unpickled(file)
        return {name: Entry(file, name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}

    def read(self, entry: Entry, dim: int, first: int, last: int) -> torch.Tensor:
        """Copies the part that is asked for."""
        return _unpickled(entry.file)[entry.name].narrow(dim, first, last - first).clone()


def _unpickled(file: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise UserError(f"{file}: cannot be read as weights alone ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise UserError(f"{file}: does not hold tensors by name")
    return content
