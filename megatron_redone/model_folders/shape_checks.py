"""The tensors of a model folder against its config.json, before any of them is read."""

import re
from collections.abc import Mapping
from pathlib import Path

from megatron_redone.architectures import Architecture
from megatron_redone.architectures.weights import family_tensors
from megatron_redone.errors import UserError
from megatron_redone.model_folders.dtypes import WEIGHT_DTYPES
from megatron_redone.model_folders.tensor_files import Entry
from megatron_redone.model_folders.tensor_names import EMBEDDING, HEAD

_LAYER = re.compile(r"model\.layers\.(\d{1,9})\.")


def check_tensors(folder: Path, entries: Mapping[str, Entry], architecture: Architecture) -> None:
    """Refuses a folder that does not hold exactly the tensors of the model that its config.json describes.

    Args:
        folder: Named in messages.
        entries: Its tensors under their names in the whole model; a copy of a tied embedding may be among them.
        architecture: What config.json says.

    Raises:
        UserError: naming what the files say and what config.json says.
    """
    _check_layers(folder, entries, architecture)
    _check_sizes(entries, architecture)
    expected = {tensor.name: tensor.shape for tensor in family_tensors(architecture)}
    _check_names(folder, set(entries), set(expected), architecture)
    for name, entry in entries.items():
        shape = expected.get(name, expected[EMBEDDING])
        if entry.shape != shape:
            raise UserError(f"{entry.file}: {entry.name} is {_by(entry.shape)}, config.json says {_by(shape)}")
        if entry.dtype not in WEIGHT_DTYPES:
            raise UserError(
                f"{entry.file}: {entry.name} is {entry.dtype}; weights are float32, float16 or bfloat16, quantized "
                "weights are not supported"
            )


def _check_layers(folder: Path, entries: Mapping[str, Entry], architecture: Architecture) -> None:
    layers = {int(found[1]) for found in map(_LAYER.match, entries) if found}
    if len(layers) != architecture.num_hidden_layers:
        raise UserError(
            f"{folder}: its weights hold {len(layers)} layers, config.json says num_hidden_layers "
            f"{architecture.num_hidden_layers}"
        )


def _check_sizes(entries: Mapping[str, Entry], architecture: Architecture) -> None:
    """The tensors that settle a size, under the keys that name it; what is absent is told later."""
    hidden = ("hidden_size", architecture.hidden_size)
    head = ("head_dim", architecture.head_dim)
    layer = "model.layers.0."
    for name, rows in (
        (EMBEDDING, (("vocab_size", architecture.vocab_size),)),
        (layer + "self_attn.q_proj.weight", (("num_attention_heads", architecture.num_attention_heads), head)),
        (layer + "self_attn.k_proj.weight", (("num_key_value_heads", architecture.num_key_value_heads), head)),
        (layer + "mlp.gate_proj.weight", (("intermediate_size", architecture.intermediate_size),)),
    ):
        entry = entries.get(name)
        product = rows[0][1] * (rows[1][1] if len(rows) > 1 else 1)
        if entry is not None and entry.shape != (product, hidden[1]):
            said = " * ".join(f"{key} {value}" for key, value in rows)
            raise UserError(
                f"{entry.file}: {entry.name} is {_by(entry.shape)}, config.json says {_by((product, hidden[1]))} "
                f"({said} by {hidden[0]} {hidden[1]})"
            )


def _check_names(folder: Path, found: set[str], expected: set[str], architecture: Architecture) -> None:
    if HEAD in expected - found:
        raise UserError(
            f"{folder}: {HEAD} is missing, but tie_word_embeddings is false or left out, which means false; "
            "set it to true in config.json if the embedding serves as head"
        )
    missing = sorted(expected - found)
    if missing:
        raise UserError(f"{folder}: {_some(missing)} missing; the model's config.json says it is there")
    unknown = sorted(found - expected - ({HEAD} if architecture.tie_word_embeddings else set()))
    if unknown:
        raise UserError(f"{folder}: {_some(unknown)} there, which the model's family does not have")


def _some(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "a single number"
