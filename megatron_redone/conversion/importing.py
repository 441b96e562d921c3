"""From a Hugging Face directory to a megatron-core distributed checkpoint, in one process and little memory."""

import logging
import re
from pathlib import Path

import torch

from megatron_redone.architectures.weights import FullWeight, full_weights
from megatron_redone.checkpoint.checksums import write_checksums
from megatron_redone.checkpoint.record import TrainState, collect_hf_files, write_record
from megatron_redone.conversion.mcore_writer import StackedWeight, write_checkpoint
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import atomic_folder
from megatron_redone.model_folders import HFWeights, open_model_folder

log = logging.getLogger(__name__)

_ROWS_MULTIPLE = 128  # megatron-core's own padding on one tensor-parallel rank; other layouts load it as well


def import_checkpoint(
    source: Path, output: Path, config_yaml: str, *, dtype: torch.dtype | None, allow_pickle: bool, overwrite: bool
) -> None:
    """Writes a checkpoint.

    It carries weights alone. Its state is that of a run before its first step, and names what it was
    imported from as its data: `init_from` takes it, and a run that would resume from it is refused.

    Args:
        source: The Hugging Face directory.
        output: The checkpoint that appears when all is written.
        config_yaml: The resolved configuration, kept with the checkpoint.
        dtype: Of all weights; None keeps their own.
        allow_pickle: Read pickled weights where there are no others.
        overwrite: Replace what is at `output`.

    Raises:
        UserError: the directory does not hold the model that its config.json describes, or the disk is full.
    """
    architecture, hf = open_model_folder(source, allow_pickle=allow_pickle)
    weights = full_weights(architecture)
    stacked = _stack(weights, {key: dtype or _common_dtype(weight, hf) for key, weight in weights.items()})

    def read(key: str, first: int, last: int) -> torch.Tensor:
        weight = weights[key]
        rows = hf.read_rows_of(weight, first, min(last, weight.rows)) if first < weight.rows else None
        types = dtype or _common_dtype(weight, hf)
        return _padded(rows, last - first, weight.columns, types)

    with atomic_folder(output, overwrite=overwrite) as folder:
        state = TrainState(data={"imported_from": str(source)})
        write_record(folder, config_yaml, state, collect_hf_files(source / "config.json", source))
        write_checksums(folder, write_checkpoint(folder, stacked, architecture.num_hidden_layers, read))
    log.info("%s: %d weights from %s", output, len(weights), source)


def _padded(rows: torch.Tensor | None, count: int, columns: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Rows in the stored type, with rows of zeros after them where the vocabulary ends."""
    if rows is not None and rows.shape[0] == count:
        return rows.to(dtype)
    full = torch.zeros(count, *columns, dtype=dtype)
    if rows is not None:
        full[: rows.shape[0]] = rows
    return full


def _common_dtype(weight: FullWeight, hf: HFWeights) -> torch.dtype:
    found = {hf.dtype(part.name) for part in weight.parts}
    if len(found) > 1:
        raise UserError(f"{hf.folder}: {weight.parts[0].name} and its neighbours differ in type; give dtype=")
    return found.pop()


def _stack(weights: dict[str, FullWeight], dtypes: dict[str, torch.dtype]) -> list[StackedWeight]:
    """Weights of layers under one name each, in the order of their first layer."""
    groups: dict[str, list[str]] = {}
    for key in weights:
        groups.setdefault(re.sub(r"^decoder\.layers\.\d+\.", "decoder.layers.", key), []).append(key)
    return [_stacked(name, keys, weights, dtypes) for name, keys in groups.items()]


def _stacked(
    name: str, keys: list[str], weights: dict[str, FullWeight], dtypes: dict[str, torch.dtype]
) -> StackedWeight:
    weight = weights[keys[0]]
    types = {dtypes[key] for key in keys}
    if len(types) > 1:
        raise UserError(f"{name}: its type differs from layer to layer; give dtype=")
    rows = -(-weight.rows // _ROWS_MULTIPLE) * _ROWS_MULTIPLE if weight.padded else weight.rows
    return StackedWeight(
        name=name,
        keys=tuple(keys),
        stacked=name != keys[0],
        shape=(rows, *weight.columns),
        dtype=types.pop(),
    )
