"""Reads tensors of a Hugging Face directory, no more of them than is asked for."""

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from megatron_redone.architectures.weights import FullWeight, hf_tensors
from megatron_redone.conversion.dtypes import DTYPES, WEIGHT_DTYPES
from megatron_redone.errors import UserError

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED_SINGLE, _PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies and what it is."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


class Format(Protocol):
    """A kind of file that holds tensors."""

    def entries(self, file: Path) -> dict[str, Entry]:
        """What a file holds; no tensor is read."""
        ...

    def read(self, entry: Entry, name: str, dim: int, first: int, last: int) -> torch.Tensor:
        """Indices `first` to `last` of a tensor along a dimension."""
        ...


class HFWeights:
    """The tensors of a Hugging Face directory. Nothing is kept open or in memory between two reads."""

    def __init__(self, folder: Path, *, allow_pickle: bool = False) -> None:
        """Finds the files and reads their headers.

        Args:
            folder: With model.safetensors, or an index and its shards.
            allow_pickle: Read pytorch_model.bin where there are no safetensors.

        Raises:
            UserError: no weights there, only pickled ones, a missing shard or a damaged file.
        """
        self.folder = folder
        self._format, files = _find(folder, allow_pickle)
        self._entries: dict[str, Entry] = {}
        for file, names in files.items():
            held = self._format.entries(file)
            absent = sorted(set(names) - held.keys())
            if absent:
                raise UserError(f"{file}: lacks {absent[0]}, which the index says is there; download it again")
            self._entries.update(held)

    def names(self) -> set[str]:
        """The tensors that are there."""
        return set(self._entries)

    def dtype(self, name: str) -> torch.dtype:
        """The type of a tensor."""
        return self._entries[name].dtype

    def read(self, name: str, first: int, last: int) -> torch.Tensor:
        """Rows of a tensor, in memory of their own."""
        return self._format.read(self._entries[name], name, 0, first, last)

    def read_columns(self, name: str, first: int, last: int) -> torch.Tensor:
        """Columns of a matrix, in memory of their own."""
        return self._format.read(self._entries[name], name, 1, first, last)

    def read_rows_of(self, weight: FullWeight, first: int, last: int) -> torch.Tensor:
        """Rows of a full weight, put together."""
        parts = [self.read(part.name, part.first, part.last) for part in weight.cut(first, last)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def check(self, weights: dict[str, FullWeight]) -> None:
        """Refuses a directory that does not hold exactly the tensors of a model.

        Raises:
            UserError: naming the first tensor that is missing, unknown, or of another shape than config.json says.
        """
        expected = {tensor.name: tensor.shape for weight in weights.values() for tensor in hf_tensors(weight)}
        missing = [name for name in expected if name not in self._entries]
        if missing:
            raise UserError(f"{self.folder}: {_some(missing)} missing; the model's config.json says it is there")
        unknown = sorted(name for name in self._entries if name not in expected and not _means_nothing(name, expected))
        if unknown:
            raise UserError(f"{self.folder}: {_some(unknown)} there, which the model's family does not have")
        for name, shape in expected.items():
            entry = self._entries[name]
            if entry.shape != shape:
                raise UserError(f"{entry.file}: {name} is {_by(entry.shape)}, config.json says {_by(shape)}")
            if entry.dtype not in WEIGHT_DTYPES:
                raise UserError(f"{entry.file}: {name} is {entry.dtype}; quantized weights are not supported")


def _means_nothing(name: str, expected: dict[str, Any]) -> bool:
    """What transformers ignores too: tables of old versions, and a copy of a tied embedding."""
    return name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and name not in expected)


def _some(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _find(folder: Path, allow_pickle: bool) -> tuple[Format, dict[Path, list[str]]]:
    """The files that hold weights, each with the tensors that the index says are in it."""
    kinds: list[tuple[Format, str, str]] = [(SafetensorsFormat(), _SINGLE, _INDEX)]
    if allow_pickle:
        kinds.append((PickledFormat(), _PICKLED_SINGLE, _PICKLED_INDEX))
    for kind, single, index in kinds:
        if (folder / index).is_file():
            return kind, _read_index(folder / index)
        if (folder / single).is_file():
            return kind, {folder / single: []}
    if any((folder / name).is_file() for name in (_PICKLED_SINGLE, _PICKLED_INDEX)):
        raise UserError(
            f"{folder}: holds pickled weights (.bin) only; `redone import-hf allow_pickle=true` reads them, without "
            "running code from them"
        )
    raise UserError(f"{folder}: no {_SINGLE} and no {_INDEX} there; name a Hugging Face model directory")


def _read_index(index: Path) -> dict[Path, list[str]]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files: dict[Path, list[str]] = {}
        for name, file in weight_map.items():
            files.setdefault(index.parent / Path(file).name, []).append(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: not an index of shards ({type(error).__name__}: {error})") from None
    absent = sorted(file.name for file in files if not file.is_file())
    if absent:
        raise UserError(f"{index.parent}: the shard {absent[0]} is missing, which {index.name} names")
    return files


class SafetensorsFormat:
    """Files that hold tensors and nothing else."""

    def entries(self, file: Path) -> dict[str, Entry]:
        """Reads the header."""
        found = {}
        with _opened(file) as handle:
            for name in handle.keys():  # noqa: SIM118 - it is no dictionary
                part = handle.get_slice(name)
                dtype = DTYPES.get(part.get_dtype())
                if dtype is None:
                    raise UserError(f"{file}: {name} is of the type {part.get_dtype()}, which is not supported")
                found[name] = Entry(file, tuple(part.get_shape()), dtype)
        return found

    def read(self, entry: Entry, name: str, dim: int, first: int, last: int) -> torch.Tensor:
        """Opens the file anew: pages that were read count as this process's memory for as long as it is open."""
        with _opened(entry.file) as handle:
            part = handle.get_slice(name)
            return (part[first:last] if dim == 0 else part[:, first:last]).clone()


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
        return {name: Entry(file, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}

    def read(self, entry: Entry, name: str, dim: int, first: int, last: int) -> torch.Tensor:
        """Copies the part that is asked for."""
        return _unpickled(entry.file)[name].narrow(dim, first, last - first).clone()


def _unpickled(file: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise UserError(f"{file}: cannot be read as weights alone ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{file}: does not hold tensors by name")
    return content
