"""Reads an architecture from Hugging Face's config.json: the only place that does."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_redone.architectures.architecture import Architecture
from megatron_redone.architectures.families import FAMILIES, Family
from megatron_redone.architectures.rope_parameters import read_rotary
from megatron_redone.errors import UserError

_logger = logging.getLogger(__name__)


def read_architecture(path: str | Path) -> Architecture:
    """Reads a model directory or a config.json.

    Raises:
        UserError: for a missing or damaged file, an unsupported family, or a feature of a supported
            family that this project does not compute exactly.
    """
    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    if not file.is_file():
        raise UserError(f"hf_config: {file}: no such file; name a Hugging Face model directory or its config.json")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"hf_config: {file}: not valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"hf_config: {file}: not a model's config.json")
    try:
        return parse_architecture(content)
    except UserError as error:
        raise UserError(f"hf_config: {file}: {error}") from None


def parse_architecture(content: Mapping[str, Any]) -> Architecture:
    """The architecture that the content of a config.json describes; keys left out mean what transformers takes.

    Raises:
        UserError: an unsupported family or feature, or a number that is none or fits no other.
    """
    model_type = str(content.get("model_type"))
    family = FAMILIES.get(model_type)
    if family is None:
        raise UserError(f"model_type '{model_type}' is not supported; supported are {', '.join(sorted(FAMILIES))}")
    given = {**family.defaults, **content}
    _refuse_unsupported(given, family)
    hidden, heads = _count(given, "hidden_size"), _count(given, "num_attention_heads")
    key_value_heads = heads if given["num_key_value_heads"] is None else _count(given, "num_key_value_heads")
    if heads % key_value_heads:
        raise UserError(f"num_attention_heads {heads} is no multiple of num_key_value_heads {key_value_heads}")
    head_dim = _head_dim(given, hidden, heads)
    max_length = _count(given, "max_position_embeddings")
    return Architecture(
        model_type=model_type,
        hidden_size=hidden,
        num_hidden_layers=_count(given, "num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        head_dim=head_dim,
        intermediate_size=_count(given, "intermediate_size"),
        vocab_size=_count(given, "vocab_size"),
        max_position_embeddings=max_length,
        rms_norm_eps=_number(given, "rms_norm_eps"),
        initializer_range=_number(given, "initializer_range"),
        tie_word_embeddings=bool(given["tie_word_embeddings"]),
        qkv_bias=family.qkv_bias,
        qk_norm=family.qk_norm,
        sliding_window=_sliding_window(given, family),
        rotary=read_rotary(
            content, head_dim=head_dim, default_theta=family.defaults["rope_theta"], max_length=max_length
        ),
    )


def _refuse_unsupported(given: Mapping[str, Any], family: Family) -> None:
    if given["hidden_act"] != "silu":
        raise UserError(f"hidden_act '{given['hidden_act']}' is not supported; only silu is")
    if given.get("mlp_bias"):
        raise UserError("mlp_bias is not supported")
    if family.reads_attention_bias and given.get("attention_bias"):
        raise UserError("attention_bias is not supported for this family")
    if given.get("attention_dropout"):
        _logger.warning("config.json: attention_dropout is ignored, training uses none")


def _head_dim(given: Mapping[str, Any], hidden: int, heads: int) -> int:
    if given["head_dim"] is not None:
        return _count(given, "head_dim")
    if hidden % heads:
        raise UserError(
            f"hidden_size {hidden} is no multiple of num_attention_heads {heads}, and head_dim is not given"
        )
    return hidden // heads


def _sliding_window(given: Mapping[str, Any], family: Family) -> int | None:
    switched_on = family.window_switch is None or given.get(family.window_switch, False)
    return given["sliding_window"] if switched_on else None


def _count(given: Mapping[str, Any], name: str) -> int:
    value = given[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name} is {value!r}, a positive whole number was expected")
    return value


def _number(given: Mapping[str, Any], name: str) -> float:
    value = given[name]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
        raise UserError(f"{name} is {value!r}, a number of at least 0 was expected")
    return value
