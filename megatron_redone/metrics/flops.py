"""Parameters and floating-point operations of a decoder, counted from its Hugging Face `config.json`.

Operations follow the PaLM report (Chowdhery et al., 2022, appendix B): a multiply-add is two, the
backward pass takes twice the forward pass, recomputed activations do not count, and of the rest only
matrix products do. Attention is counted over the keys that a causal mask leaves, half of the sequence on
average; PaLM and Megatron-LM count all of them, which flatters a long sequence. With isolated documents
attention does less than is counted here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from megatron_redone.errors import UserError

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The sizes that parameters and operations follow from; the names are those of `config.json`."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool

    @classmethod
    def from_hf_config(cls, config: Mapping[str, Any]) -> "ModelShape":
        """Reads the dictionary in a Hugging Face `config.json` of a Llama, Mistral, Qwen2 or Qwen3 model.

        Raises:
            UserError: another family, or a size is missing.
        """
        family = config.get("model_type")
        if family not in _FAMILIES:
            raise UserError(f"config.json: model_type {family!r} is not one of {', '.join(_FAMILIES)}")
        # Qwen2 has biases on q, k and v whatever its config says; for the others the config says it.
        attention_bias = family != "qwen2" and bool(config.get("attention_bias"))
        hidden, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
        return cls(
            num_hidden_layers=_size(config, "num_hidden_layers"),
            hidden_size=hidden,
            intermediate_size=_size(config, "intermediate_size"),
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or (128 if family == "qwen3" else hidden // heads),
            vocab_size=_size(config, "vocab_size"),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=family == "qwen2" or attention_bias,
            output_bias=attention_bias,
            mlp_bias=family == "llama" and bool(config.get("mlp_bias")),
            qk_norm=family == "qwen3",
        )


def parameter_count(shape: ModelShape) -> int:
    """The model's parameters; tied embeddings count once."""
    queries, keys = _attention_widths(shape)
    hidden, inner = shape.hidden_size, shape.intermediate_size
    norms = 2 * hidden + (2 * shape.head_dim if shape.qk_norm else 0)
    biases = (queries + 2 * keys) * shape.qkv_bias + hidden * shape.output_bias + (2 * inner + hidden) * shape.mlp_bias
    embeddings = shape.vocab_size * hidden * (1 if shape.tie_word_embeddings else 2)
    return shape.num_hidden_layers * (_layer_matrices(shape) + norms + biases) + hidden + embeddings


def forward_flops_per_token(shape: ModelShape, seq_length: int, causal: bool = True) -> float:
    """Operations of one forward pass, divided by its tokens.

    2 x (matrices of all layers + output matrix) + 4 x layers x query width x keys seen, with
    keys seen = seq_length / 2 under a causal mask. Looking up an embedding costs nothing.
    """
    queries, _ = _attention_widths(shape)
    keys_seen = seq_length / 2 if causal else seq_length
    matrices = shape.num_hidden_layers * _layer_matrices(shape) + shape.vocab_size * shape.hidden_size
    return 2 * matrices + 4 * shape.num_hidden_layers * queries * keys_seen


def training_flops_per_token(shape: ModelShape, seq_length: int, causal: bool = True) -> float:
    """Operations of a forward and a backward pass, divided by its tokens: three forward passes' worth."""
    return 3 * forward_flops_per_token(shape, seq_length, causal)


def _attention_widths(shape: ModelShape) -> tuple[int, int]:
    """Outputs of the query projection, and of the key projection (fewer under grouped queries)."""
    return shape.num_attention_heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim


def _layer_matrices(shape: ModelShape) -> int:
    """Entries of q, k, v and output projections, and of SwiGLU's gate, up and down projections."""
    queries, keys = _attention_widths(shape)
    return shape.hidden_size * (2 * queries + 2 * keys + 3 * shape.intermediate_size)


def _size(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value < 1:
        raise UserError(f"config.json: {name} is {value!r}, a positive number was expected")
    return value
