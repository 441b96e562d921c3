"""The config.json of the Qwen2.5 models that examples are for (Qwen/Qwen2.5-* on Hugging Face)."""

from typing import Any

_SHARED = {
    **{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "rms_norm_eps": 1e-6, "rope_theta": 1000000.0},
    **{"hidden_act": "silu", "vocab_size": 152064, "tie_word_embeddings": False, "initializer_range": 0.02},
    "max_position_embeddings": 131072,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "7b": {
        **_SHARED,
        **{"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
        "intermediate_size": 18944,
    },
    "32b": {
        **_SHARED,
        **{"hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 40, "num_key_value_heads": 8},
        "intermediate_size": 27648,
    },
}
