"""The families: which Hugging Face tensors a full weight is made of, one table each.

The keys on the left are the same for both backends: Transformer Engine holds a norm in the linear layer
behind it, and the torch backend's norms are stored under the same keys. They are those of
`models/shards.py`, written out here because importing megatron-core for them takes seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from megatron_redone.conversion.mappings import (
    Direct,
    FullWeight,
    GateAboveUp,
    HFTensor,
    InterleavedQKV,
    Mapping,
    PaddedVocabulary,
    TiedOutput,
    hf_tensors,
)
from megatron_redone.models.architecture import Architecture


@dataclass(frozen=True)
class Row:
    """One row of a table: `mapping` of the tensors called `name`, with so many columns (a size's name) or none."""

    name: str
    mapping: Mapping
    columns: str | None = None


Table = dict[str, Row]

_HIDDEN = Direct("hidden_size")

_TOP: Table = {"embedding.word_embeddings.weight": Row("model.embed_tokens.weight", PaddedVocabulary(), "hidden_size")}
_BOTTOM: Table = {
    "decoder.final_layernorm.weight": Row("model.norm.weight", _HIDDEN),
    "output_layer.weight": Row("lm_head.weight", TiedOutput(), "hidden_size"),
}
_LAYER: Table = {
    "self_attention.linear_qkv.layer_norm_weight": Row("input_layernorm.weight", _HIDDEN),
    "self_attention.linear_qkv.weight": Row("self_attn.{}_proj.weight", InterleavedQKV(), "hidden_size"),
    "self_attention.linear_proj.weight": Row("self_attn.o_proj.weight", _HIDDEN, "attention_size"),
    "mlp.linear_fc1.layer_norm_weight": Row("post_attention_layernorm.weight", _HIDDEN),
    "mlp.linear_fc1.weight": Row("mlp.{}_proj.weight", GateAboveUp(), "hidden_size"),
    "mlp.linear_fc2.weight": Row("mlp.down_proj.weight", _HIDDEN, "intermediate_size"),
}
_QKV_BIAS: Table = {"self_attention.linear_qkv.bias": Row("self_attn.{}_proj.bias", InterleavedQKV())}
_HEAD_NORMS: Table = {
    "self_attention.q_layernorm.weight": Row("self_attn.q_norm.weight", Direct("head_dim")),
    "self_attention.k_layernorm.weight": Row("self_attn.k_norm.weight", Direct("head_dim")),
}

# What one layer consists of; everything else is common to all.
FAMILIES: dict[str, Table] = {
    "llama": _LAYER,
    "mistral": _LAYER,
    "qwen2": _LAYER | _QKV_BIAS,
    "qwen3": _LAYER | _HEAD_NORMS,
}


def full_weights(architecture: Architecture) -> dict[str, FullWeight]:
    """Every full weight of a model by its checkpoint key, from the embedding to the output layer."""
    return {weight.key: weight for weight in _iterate(architecture) if weight.pieces}


def family_tensors(architecture: Architecture) -> list[HFTensor]:
    """Every tensor that a Hugging Face checkpoint of the model holds, in the order of its layers."""
    return [tensor for weight in full_weights(architecture).values() for tensor in hf_tensors(weight)]


def _iterate(architecture: Architecture) -> Iterator[FullWeight]:
    layer = FAMILIES[architecture.model_type]
    for key, row in _TOP.items():
        yield _weight(key, row.name, row, architecture)
    for number in range(architecture.num_hidden_layers):
        for key, row in layer.items():
            yield _weight(f"decoder.layers.{number}.{key}", f"model.layers.{number}.{row.name}", row, architecture)
    for key, row in _BOTTOM.items():
        yield _weight(key, row.name, row, architecture)


def _weight(key: str, name: str, row: Row, architecture: Architecture) -> FullWeight:
    return FullWeight(
        key=key,
        columns=() if row.columns is None else (_size(row.columns, architecture),),
        pieces=tuple(row.mapping.pieces(name, architecture)),
        padded=isinstance(row.mapping, (PaddedVocabulary, TiedOutput)),
    )


def _size(name: str, architecture: Architecture) -> int:
    if name == "attention_size":
        return architecture.num_attention_heads * architecture.head_dim
    return getattr(architecture, name)
