"""Keys of a config.json by which transformers computes something else than the family's plain model."""

from collections.abc import Mapping
from typing import Any

from megatron_redone.architectures.config_values import shown
from megatron_redone.architectures.unsupported_model import UnsupportedModelError
from megatron_redone.errors import UserError

# Read by transformers' code for all families: the value that changes nothing (null never does), and what it would do.
_ELSEWHERE: dict[str, tuple[Any, str]] = {
    "configuration_files": (None, "sends transformers to another file"),
    "transformers_weights": (None, "sends transformers to other weights"),
    "text_config": (None, "is another configuration within this one"),
    "decoder": (None, "is another configuration within this one"),
    "generator": (None, "is another configuration within this one"),
    "return_dict": (True, "takes the names from what the model gives"),
    "is_encoder_decoder": (False, "is of another kind of model"),
}
_NOT_COMPUTED: dict[str, tuple[Any, str]] = {
    "quantization_config": (None, "is for quantized weights"),
    "compression_config": (None, "is for quantized weights"),
    "per_layer_config": (None, "gives layers settings of their own"),
    "fusion_config": (None, "changes modules of the model"),
    "attention_chunk_size": (None, "cuts attention into chunks"),
    "kv_sharing_modes": (None, "shares keys and values between layers"),
    "is_causal": (True, "lets tokens see those after them"),
    "use_bidirectional_attention": (False, "lets tokens see those after them"),
    "mlp_bias": (False, "adds biases"),
}

# What files hold besides, and nothing of this family's logits is computed from.
_NO_EFFECT = {
    *("architectures", "attention_dropout", "auto_map", "bos_token_id", "dtype", "eos_token_id", "id2label"),
    *("label2id", "max_window_layers", "model_type", "num_labels", "output_attentions", "output_hidden_states"),
    *("pad_token_id", "partial_rotary_factor", "pretraining_tp", "problem_type", "rope_parameters", "rope_scaling"),
    *("original_max_position_embeddings", "layer_types", "task_specific_params", "tokenizer_class", "torch_dtype"),
    *("transformers_version", "unsloth_fixed", "unsloth_version", "use_cache", "use_mrope", "use_sliding_window"),
    *("attention_bias", "attn_implementation", "chunk_size_feed_forward", "max_length", "name_or_path"),
    *("transformers.js_config", "is_llama_config", "rope_interleaved"),
}


def refuse_keys(given: Mapping[str, Any]) -> None:
    """Refuses keys of the table above.

    Raises:
        UserError: a key by which transformers reads another file.
        UnsupportedModelError: a key by which it computes what this project does not.
    """
    for table, kind in ((_ELSEWHERE, UserError), (_NOT_COMPUTED, UnsupportedModelError)):
        for name, (neutral, effect) in table.items():
            value = given.get(name)
            if value is not None and value is not neutral:
                raise kind(f"{name} is {shown(value)}, which {effect}; not supported")


def unknown_keys(content: Mapping[str, Any], read: Mapping[str, Any]) -> list[str]:
    """Keys that the project knows no meaning of.

    Args:
        content: Of a config.json.
        read: By key: what is read.
    """
    known = {*read, *_NO_EFFECT, *_ELSEWHERE, *_NOT_COMPUTED}
    return sorted(name for name in content if name not in known and not name.startswith("_"))
