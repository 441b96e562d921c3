"""Which files of a model folder hold its weights; a folder that could mean two models is refused.

transformers takes one file before an index of shards, 5 reads every tensor of the shards that an index names, and an
adapter is put on top of the model where peft is installed.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.architectures.json_object import read_json_object
from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import ADAPTER_CONFIG


@dataclass(frozen=True)
class _Kind:
    """Names of the files of one kind."""

    single: str
    index: str
    suffix: str
    shard: re.Pattern[str]


_SAFETENSORS = _Kind(
    "model.safetensors",
    "model.safetensors.index.json",
    ".safetensors",
    re.compile(r"(shard-\d{5}-)?model-\d+-of-\d+\.safetensors"),
)
_PICKLED = _Kind(
    "pytorch_model.bin", "pytorch_model.bin.index.json", ".bin", re.compile(r"pytorch_model-\d+-of-\d+\.bin")
)
_ADAPTERS = (ADAPTER_CONFIG, "adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True, kw_only=True)
class WeightFiles:
    """Where a model's weights lie.

    Attributes:
        pickled: Whether torch.save wrote them.
        names: By file: the tensors that an index says are in it; None where there is one file and no index.
    """

    pickled: bool
    names: dict[Path, set[str] | None]


def find_weight_files(folder: Path, *, allow_pickle: bool = False) -> WeightFiles:
    """Finds the files, and reads no weights.

    Args:
        folder: The model folder.
        allow_pickle: Take pytorch_model.bin where there are no safetensors.

    Raises:
        UserError: no weights there, only pickled ones or only an adapter; or files that contradict each other.
    """
    _refuse_adapter(folder)
    for kind in (_SAFETENSORS, _PICKLED)[: 2 if allow_pickle else 1]:
        names = _find(folder, kind)
        if names is not None:
            return WeightFiles(pickled=kind is _PICKLED, names=names)
    if any((folder / name).exists() for name in (_PICKLED.single, _PICKLED.index)):
        raise UserError(
            f"{folder}: holds pickled weights (.bin) only; `redone import-hf allow_pickle=true` reads them, without "
            "running code from them"
        )
    raise UserError(
        f"{folder}: no {_SAFETENSORS.single} and no {_SAFETENSORS.index} there; name a Hugging Face model directory"
    )


def _refuse_adapter(folder: Path) -> None:
    adapter = next((name for name in _ADAPTERS if (folder / name).exists()), None)
    if adapter is None:
        return
    weights = next((kind for kind in (_SAFETENSORS, _PICKLED) for name in (kind.single, kind.index)
                    if (folder / name).exists()), None)  # fmt: skip
    if weights is None:
        raise UserError(f"{folder}: {adapter} is an adapter, and no model; merge it into its base model first")
    raise UserError(
        f"{folder}: {adapter} lies beside the weights of a model, and whether it counts depends on who reads the "
        "folder; merge it into them, or take it away"
    )


def _find(folder: Path, kind: _Kind) -> dict[Path, set[str] | None] | None:
    single, index = folder / kind.single, folder / kind.index
    shards = sorted(file.name for file in folder.iterdir() if kind.shard.fullmatch(file.name))
    if single.is_file():
        others = [kind.index] * index.exists() + shards
        if others:
            raise UserError(
                f"{folder}: {kind.single} lies beside {others[0]}, and only one of them is the model (transformers "
                "would read the first); take the other away"
            )
        return {single: None}
    if not index.is_file():
        return None
    named = _read_index(index, kind)
    unnamed = sorted(set(shards) - {file.name for file in named})
    if unnamed:
        raise UserError(f"{folder}: the shard {unnamed[0]} is there, which {kind.index} does not name; take it away")
    return named


def _read_index(index: Path, kind: _Kind) -> dict[Path, set[str] | None]:
    content = read_json_object(index)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index}: not an index of shards (it has no weight_map)")
    if not isinstance(content.get("metadata"), dict):
        raise UserError(f"{index}: not an index of shards (it has no metadata, without which transformers stops)")
    files: dict[Path, set[str]] = {}
    for name, file in weight_map.items():
        files.setdefault(index.parent / _shard_name(file, kind, index), set()).add(name)
    absent = sorted(file.name for file in files if not file.is_file())
    if absent:
        raise UserError(f"{index.parent}: the shard {absent[0]} is missing, which {index.name} names")
    return dict(files)


def _shard_name(file: Any, kind: _Kind, index: Path) -> str:
    if not isinstance(file, str) or not file.endswith(kind.suffix) or "/" in file or "\0" in file:
        raise UserError(f"{index}: {file!r} is no name of a shard in the same folder (NAME{kind.suffix})")
    return file
