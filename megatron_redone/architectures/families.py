"""The families: a row of `FAMILIES` is all that the project knows of one.

A row says what the family's transformers class takes where config.json is silent, what its code fixes, and of which
Hugging Face tensors each of megatron-core's weights is made. To support another family of the same kind, add a row
and its name in tests/unit/architectures/test_families.py, where transformers' own classes are the oracle.
"""

from dataclasses import dataclass
from typing import Any

from megatron_redone.architectures.layer_kinds import Windows
from megatron_redone.architectures.mappings import (
    Direct,
    GateAboveUp,
    InterleavedQKV,
    Mapping,
    PaddedVocabulary,
    TiedOutput,
)


@dataclass(frozen=True)
class TableRow:
    """Of what a full weight consists.

    Attributes:
        name: The Hugging Face tensor; what several tensors differ in is `{}`.
        mapping: How the weight is put together from them.
        columns: The size behind the rows, by its name in `Architecture`; None for a vector.
        split: The dimension that tensor parallelism splits; None for what every rank holds whole.
    """

    name: str
    mapping: Mapping
    columns: str | None = None
    split: int | None = None


Table = dict[str, TableRow]
"""By checkpoint key; within a layer, by what follows `decoder.layers.N.`, and the tensor's `model.layers.N.`."""

EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"

# Transformer Engine holds a norm in the linear layer behind it. The torch backend's norms are modules of their own,
# and are stored under the same keys.
NORM_KEYS = {
    "input_layernorm.": "self_attention.linear_qkv.layer_norm_",
    "pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_",
}
# Modules of a layer that store an object beside their weights: what FP8 remembers.
MODULES_WITH_EXTRA_STATE = (
    "self_attention.linear_qkv",
    "self_attention.core_attention",
    "self_attention.linear_proj",
    "mlp.linear_fc1",
    "mlp.linear_fc2",
)

_HIDDEN = Direct("hidden_size")

TOP: Table = {EMBEDDING: TableRow("model.embed_tokens.weight", PaddedVocabulary(), "hidden_size", split=0)}
BOTTOM: Table = {
    "decoder.final_layernorm.weight": TableRow("model.norm.weight", _HIDDEN),
    OUTPUT: TableRow("lm_head.weight", TiedOutput(), "hidden_size", split=0),
}
_LAYER: Table = {
    "self_attention.linear_qkv.layer_norm_weight": TableRow("input_layernorm.weight", _HIDDEN),
    "self_attention.linear_qkv.weight": TableRow("self_attn.{}_proj.weight", InterleavedQKV(), "hidden_size", split=0),
    "self_attention.linear_proj.weight": TableRow("self_attn.o_proj.weight", _HIDDEN, "attention_size", split=1),
    "mlp.linear_fc1.layer_norm_weight": TableRow("post_attention_layernorm.weight", _HIDDEN),
    "mlp.linear_fc1.weight": TableRow("mlp.{}_proj.weight", GateAboveUp(), "hidden_size", split=0),
    "mlp.linear_fc2.weight": TableRow("mlp.down_proj.weight", _HIDDEN, "intermediate_size", split=1),
}
_QKV_BIAS: Table = {"self_attention.linear_qkv.bias": TableRow("self_attn.{}_proj.bias", InterleavedQKV(), split=0)}
_HEAD_NORMS: Table = {
    "self_attention.q_layernorm.weight": TableRow("self_attn.q_norm.weight", Direct("head_dim")),
    "self_attention.k_layernorm.weight": TableRow("self_attn.k_norm.weight", Direct("head_dim")),
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One row.

    Attributes:
        class_name: How the names of the family's classes in transformers begin.
        defaults: What they take for keys that a config.json leaves out. Where there is no `head_dim`, it is
            hidden_size / num_attention_heads.
        nullable: Keys that a file may give as null, and that then mean what is computed from others.
        layer: What one layer consists of; everything else is common to all families.
        qkv_bias: Biases on query, key and value.
        qk_norm: A norm on each head's query and key.
        reads_attention_bias: Whether `attention_bias` counts. It puts a bias on the output projection too, which is
            not supported.
        windows: What the family's code does with `sliding_window`.
        heads_divide: Whether the class asks that num_attention_heads divide hidden_size, whatever head_dim says.
    """

    class_name: str
    defaults: dict[str, Any]
    nullable: tuple[str, ...]
    layer: Table
    qkv_bias: bool = False
    qk_norm: bool = False
    reads_attention_bias: bool = False
    windows: Windows
    heads_divide: bool = False


# The same in transformers' classes of all four, in releases 4.57 and 5.
_COMMON = {
    **{"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32},
    **{"rms_norm_eps": 1e-6, "initializer_range": 0.02, "tie_word_embeddings": False},
    **{"rope_theta": 10000.0, "hidden_act": "silu"},
}
_LLAMA = {"vocab_size": 32000, "intermediate_size": 11008, "num_key_value_heads": None, "max_position_embeddings": 2048}
_MISTRAL = {
    **{"vocab_size": 32000, "intermediate_size": 14336, "num_key_value_heads": 8, "sliding_window": 4096},
    **{"max_position_embeddings": 131072},
}
_QWEN = {
    **{"vocab_size": 151936, "intermediate_size": 22016, "max_position_embeddings": 32768},
    **{"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 28},
}

FAMILIES: dict[str, Family] = {
    "llama": Family(
        class_name="Llama",
        defaults=_COMMON | _LLAMA,
        nullable=("num_key_value_heads", "head_dim"),
        layer=_LAYER,
        reads_attention_bias=True,
        windows=Windows.never,
        heads_divide=True,
    ),
    "mistral": Family(
        class_name="Mistral",
        defaults=_COMMON | _MISTRAL,
        nullable=("head_dim",),
        layer=_LAYER,
        windows=Windows.all_layers,
    ),
    "qwen2": Family(
        class_name="Qwen2",
        defaults=_COMMON | _QWEN,
        nullable=("num_key_value_heads",),
        layer=_LAYER | _QKV_BIAS,
        qkv_bias=True,
        windows=Windows.upper_layers,
    ),
    "qwen3": Family(
        class_name="Qwen3",
        defaults=_COMMON | _QWEN | {"head_dim": 128},
        nullable=("num_key_value_heads",),
        layer=_LAYER | _HEAD_NORMS,
        qk_norm=True,
        reads_attention_bias=True,
        windows=Windows.upper_layers,
    ),
}
