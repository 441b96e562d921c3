"""Reads an architecture from Hugging Face's config.json.

A family is a row of a table: what its transformers class hard-codes, and where its config.json differs.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.models.rotary import RotaryConfig, read_rotary

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Family:
    """What a family's code fixes and its config.json does not say.

    Attributes:
        qkv_bias: Biases on query, key and value.
        qk_norm: A norm on each head's query and key.
        window_switch: The key that must be true for `sliding_window` to count; None where it always does.
    """

    qkv_bias: bool
    qk_norm: bool
    window_switch: str | None


FAMILIES = {
    "llama": Family(qkv_bias=False, qk_norm=False, window_switch="use_sliding_window"),
    "mistral": Family(qkv_bias=False, qk_norm=False, window_switch=None),
    "qwen2": Family(qkv_bias=True, qk_norm=False, window_switch="use_sliding_window"),
    "qwen3": Family(qkv_bias=False, qk_norm=True, window_switch="use_sliding_window"),
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of a model, under Hugging Face's names where they exist."""

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    initializer_range: float
    tie_word_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    sliding_window: int | None
    rotary: RotaryConfig


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
    except KeyError as error:
        raise UserError(f"hf_config: {file}: the key {error} is missing") from None
    except UserError as error:
        raise UserError(f"hf_config: {file}: {error}") from None


def parse_architecture(content: dict[str, Any]) -> Architecture:
    """The architecture that the content of a config.json describes."""
    model_type = content.get("model_type")
    family = FAMILIES.get(str(model_type))
    if family is None:
        raise UserError(f"model_type '{model_type}' is not supported; supported are {', '.join(sorted(FAMILIES))}")
    _refuse_unsupported(content)
    heads = content["num_attention_heads"]
    head_dim = content.get("head_dim") or content["hidden_size"] // heads
    return Architecture(
        model_type=str(model_type),
        hidden_size=content["hidden_size"],
        num_hidden_layers=content["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=content.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        intermediate_size=content["intermediate_size"],
        vocab_size=content["vocab_size"],
        max_position_embeddings=content["max_position_embeddings"],
        rms_norm_eps=content.get("rms_norm_eps", 1e-6),
        initializer_range=content.get("initializer_range", 0.02),
        tie_word_embeddings=content.get("tie_word_embeddings", False),
        qkv_bias=family.qkv_bias,
        qk_norm=family.qk_norm,
        sliding_window=_sliding_window(content, family),
        rotary=read_rotary(content, head_dim),
    )


def _refuse_unsupported(content: dict[str, Any]) -> None:
    activation = content.get("hidden_act", "silu")
    if activation != "silu":
        raise UserError(f"hidden_act '{activation}' is not supported; only silu is")
    if content.get("mlp_bias"):
        raise UserError("mlp_bias is not supported")
    if content["model_type"] != "qwen2" and content.get("attention_bias"):
        # There it puts a bias on the output projection too; Qwen2's code does not read the key.
        raise UserError("attention_bias is not supported for this family")
    if content.get("attention_dropout"):
        _logger.warning("config.json: attention_dropout is ignored, training uses none")


def _sliding_window(content: dict[str, Any], family: Family) -> int | None:
    switched_on = family.window_switch is None or content.get(family.window_switch, False)
    return content.get("sliding_window") if switched_on else None
