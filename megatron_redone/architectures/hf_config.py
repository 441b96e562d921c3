"""Reads an architecture from Hugging Face's config.json: the only place that does."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_redone.architectures.architecture import Architecture
from megatron_redone.architectures.config_values import check_types, count, fraction, shown
from megatron_redone.architectures.families import FAMILIES, Family
from megatron_redone.architectures.json_object import read_json_object
from megatron_redone.architectures.layer_kinds import read_sliding_window
from megatron_redone.architectures.refused_keys import refuse_keys, unknown_keys
from megatron_redone.architectures.rope_parameters import read_rotary
from megatron_redone.architectures.unsupported_model import UnsupportedModelError
from megatron_redone.errors import UserError

_logger = logging.getLogger(__name__)

_DTYPES = ("float64", "float32", "float16", "bfloat16")
_MOST_LAYERS = 10_000


def read_architecture(path: str | Path) -> Architecture:
    """Reads a model directory or a config.json.

    Raises:
        UserError: for a missing or damaged file, or keys that contradict each other.
        UnsupportedModelError: for an unsupported family, or a feature of a supported family that this project does
            not compute exactly.
    """
    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    content = read_json_object(file)
    try:
        return parse_architecture(content)
    except UserError as error:
        raise type(error)(f"{file}: {error}") from None


def parse_architecture(content: Mapping[str, Any]) -> Architecture:
    """The architecture that the content of a config.json describes; keys left out mean what transformers takes.

    Raises:
        UserError: a number that is none, or keys that contradict each other.
        UnsupportedModelError: an unsupported family or feature.
    """
    model_type = content.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise UnsupportedModelError(
            f"model_type {shown(model_type)} is not supported; supported are {', '.join(sorted(FAMILIES))}"
        )
    given = {**family.defaults, **content}
    check_types(content)
    _check_names(given, family)
    _refuse_unsupported(given, family)
    hidden, heads = count(given, "hidden_size"), count(given, "num_attention_heads")
    key_value_heads = _key_value_heads(given, family, heads)
    head_dim = _head_dim(given, family, hidden, heads)
    max_length = count(given, "max_position_embeddings")
    vocab_size = count(given, "vocab_size")
    _check_padding(given, vocab_size)
    return Architecture(
        model_type=str(model_type),
        hidden_size=hidden,
        num_hidden_layers=_layers(given),
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        head_dim=head_dim,
        intermediate_size=count(given, "intermediate_size"),
        vocab_size=vocab_size,
        max_position_embeddings=max_length,
        rms_norm_eps=fraction(given, "rms_norm_eps"),
        initializer_range=fraction(given, "initializer_range"),
        tie_word_embeddings=given["tie_word_embeddings"],
        qkv_bias=family.qkv_bias,
        qk_norm=family.qk_norm,
        sliding_window=read_sliding_window(given, family.windows),
        rotary=read_rotary(
            content, head_dim=head_dim, default_theta=family.defaults["rope_theta"], max_length=max_length
        ),
    )


def ignored_keys(content: Mapping[str, Any]) -> list[str]:
    """Keys of a config.json that nobody reads here, and that mean nothing to transformers' class either."""
    return unknown_keys(content, {name: None for family in FAMILIES.values() for name in family.defaults})


def _check_names(given: Mapping[str, Any], family: Family) -> None:
    """What names the model's class, and the type of its numbers, a second time."""
    named = given.get("architectures") or [family.class_name]
    if not any(name.startswith(family.class_name) for name in named):
        raise UserError(
            f"architectures says {shown(named)}, model_type '{given['model_type']}'; transformers goes by model_type, "
            "others by architectures; put one of them right"
        )
    for name in ("dtype", "torch_dtype"):
        if given.get(name) not in (None, *_DTYPES):
            raise UserError(f"{name} is {shown(given[name])}, one of {', '.join(_DTYPES)} was expected")
    if None not in (given.get("dtype"), given.get("torch_dtype")) and given["dtype"] != given["torch_dtype"]:
        raise UserError(f"dtype is {given['dtype']}, torch_dtype {given['torch_dtype']}; leave one out")


def _check_padding(given: Mapping[str, Any], vocab_size: int) -> None:
    """torch refuses an embedding with a padding row that it does not have; -1 means the last."""
    padding = given.get("pad_token_id")
    if padding is not None and not -vocab_size <= padding < vocab_size:
        raise UserError(f"pad_token_id is {shown(padding)}, but vocab_size {vocab_size}; leave pad_token_id out")


def _refuse_unsupported(given: Mapping[str, Any], family: Family) -> None:
    if given["hidden_act"] != "silu":
        raise UnsupportedModelError(f"hidden_act {shown(given['hidden_act'])} is not supported; only silu is")
    if family.reads_attention_bias and given.get("attention_bias"):
        raise UnsupportedModelError("attention_bias is not supported for this family")
    refuse_keys(given)
    if given.get("attention_dropout"):
        _logger.warning("config.json: attention_dropout is ignored, training uses none")


def _layers(given: Mapping[str, Any]) -> int:
    layers = count(given, "num_hidden_layers")
    if layers > _MOST_LAYERS:
        raise UserError(f"num_hidden_layers is {layers}, more than any model has")
    return layers


def _key_value_heads(given: Mapping[str, Any], family: Family, heads: int) -> int:
    """As many as heads where null says so."""
    if given["num_key_value_heads"] is None and "num_key_value_heads" in family.nullable:
        return heads
    groups = count(given, "num_key_value_heads")
    if heads % groups:
        raise UserError(f"num_attention_heads {heads} is no multiple of num_key_value_heads {groups}")
    return groups


def _head_dim(given: Mapping[str, Any], family: Family, hidden: int, heads: int) -> int:
    stated = given.get("head_dim") is not None or ("head_dim" in given and "head_dim" not in family.nullable)
    if hidden % heads and (family.heads_divide or not stated):
        raise UserError(f"hidden_size {hidden} is no multiple of num_attention_heads {heads}")
    return count(given, "head_dim") if stated else hidden // heads
