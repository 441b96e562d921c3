"""Small transformers models with random weights, and their weights in megatron-core's arrangement."""

from typing import Any

import torch
import transformers

from megatron_redone.architectures import Architecture, parse_architecture

# 500 rows are no multiple of 128: every layout pads the vocabulary, and differently.
_SMALL = {
    **{"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "vocab_size": 500, "max_position_embeddings": 256, "initializer_range": 0.1},
}
_LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0},
    **{"high_freq_factor": 4.0, "original_max_position_embeddings": 64},
}

MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "qwen2_tied": (transformers.Qwen2Config, {"tie_word_embeddings": True}),
    "qwen2_untied": (transformers.Qwen2Config, {"tie_word_embeddings": False, "rope_theta": 1e6}),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 32, "tie_word_embeddings": True}),
    "llama3_scaled": (transformers.LlamaConfig, {"rope_parameters": _LLAMA3}),
    "mistral": (transformers.MistralConfig, {"sliding_window": None, "head_dim": 24}),
    "llama_linear": (
        transformers.LlamaConfig,
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    ),
    "qwen2_yarn": (
        transformers.Qwen2Config,
        {
            "rope_parameters": {
                **{"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0},
                "original_max_position_embeddings": 64,
            }
        },
    ),
}


def hf_config(name: str, **changes: Any) -> Any:
    """The configuration of a small model."""
    config_class, own = MODELS[name]
    return config_class(**{**_SMALL, **own, **changes})


def architecture(name: str, **changes: Any) -> Architecture:
    """The same, as this project reads it."""
    return parse_architecture(hf_config(name, **changes).to_dict())


def hf_model(name: str, seed: int = 0, **changes: Any) -> Any:
    """A transformers model with random weights, norms and biases too, so that none of them can be mixed up."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(hf_config(name, **changes), attn_implementation="sdpa")
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_(1.0 if "norm" in key else 0.0, 0.2)
    return model.float().eval()


def full_weights(model: Any, shape: Architecture) -> dict[str, torch.Tensor]:
    """A transformers model's weights under this project's full names."""
    return rename({key: value.detach().clone() for key, value in model.state_dict().items()}, shape)


def full_gradients(model: Any, shape: Architecture) -> dict[str, torch.Tensor]:
    """A transformers model's gradients under this project's full names."""
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    return rename({key: grad for key, grad in gradients.items() if grad is not None}, shape)


def rename(theirs: dict[str, torch.Tensor], shape: Architecture) -> dict[str, torch.Tensor]:
    """Tensors by transformers' names to tensors by this project's, rearranged."""
    ours = {
        "embedding.word_embeddings.weight": theirs["model.embed_tokens.weight"],
        "decoder.final_layernorm.weight": theirs["model.norm.weight"],
    }
    if not shape.tie_word_embeddings:
        ours["output_layer.weight"] = theirs["lm_head.weight"]
    for number in range(shape.num_hidden_layers):
        layer = {
            key.split(".", 3)[3]: value for key, value in theirs.items() if key.startswith(f"model.layers.{number}.")
        }
        ours.update({f"decoder.layers.{number}.{key}": value for key, value in _layer(layer, shape).items()})
    return ours


def _layer(layer: dict[str, torch.Tensor], shape: Architecture) -> dict[str, torch.Tensor]:
    weights = {
        "self_attention.linear_qkv.layer_norm_weight": layer["input_layernorm.weight"],
        "self_attention.linear_qkv.weight": _interleave(layer, "weight", shape),
        "self_attention.linear_proj.weight": layer["self_attn.o_proj.weight"],
        "mlp.linear_fc1.layer_norm_weight": layer["post_attention_layernorm.weight"],
        "mlp.linear_fc1.weight": torch.cat([layer["mlp.gate_proj.weight"], layer["mlp.up_proj.weight"]]),
        "mlp.linear_fc2.weight": layer["mlp.down_proj.weight"],
    }
    if shape.qkv_bias:
        weights["self_attention.linear_qkv.bias"] = _interleave(layer, "bias", shape)
    if shape.qk_norm:
        weights["self_attention.q_layernorm.weight"] = layer["self_attn.q_norm.weight"]
        weights["self_attention.k_layernorm.weight"] = layer["self_attn.k_norm.weight"]
    return weights


def _interleave(layer: dict[str, torch.Tensor], kind: str, shape: Architecture) -> torch.Tensor:
    """Query heads of a group, then its key head, then its value head, group by group."""
    groups = shape.num_key_value_heads
    parts = [layer[f"self_attn.{name}_proj.{kind}"] for name in "qkv"]
    return torch.cat([part.view(groups, -1, *part.shape[1:]) for part in parts], dim=1).flatten(0, 1)
