"""Saves small random models as the transformers of this environment writes them, with logits that are to come back.

    python save_inputs.py --tokenizers DIR --to DIR

Runs in an environment of its own, of any transformers from 4.45 on: it knows nothing of the project.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import transformers

# Prompts of 48 tokens: beyond the sliding window, and beyond the length that rope_scaling was trained for.
_SMALL = {
    **{"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.1},
    # Other than every class default, so that a key which is lost is seen.
    **{"rms_norm_eps": 1e-4, "bos_token_id": 1, "eos_token_id": 2},
}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3["original_max_position_embeddings"] = 8192
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}

# The configuration's class, its keys, the kind of its tokenizer. `rope` is put under this version's names.
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("LlamaConfig", {"rope_theta": 50000.0, "tie_word_embeddings": True}, "llama2"),
    "llama3": ("LlamaConfig", {"rope_theta": 500000.0, "rope": _LLAMA3}, "llama3"),
    "llama_linear": ("LlamaConfig", {"rope_theta": 50000.0, "rope": {"rope_type": "linear", "factor": 4.0}}, "smollm2"),
    # As examples/quickstart/get_model.py makes it, in small.
    "quickstart": ("LlamaConfig", {"rope_theta": 1e5, "tie_word_embeddings": True}, "smollm2_plain"),
    "mistral": ("MistralConfig", {"rope_theta": 1e6, "sliding_window": 24, "head_dim": 24}, "llama2"),
    "qwen2": ("Qwen2Config", {"rope_theta": 1e5, "tie_word_embeddings": True}, "qwen2"),
    "qwen2_untied": ("Qwen2Config", {"rope_theta": 1e6, "tie_word_embeddings": False}, "qwen2"),
    "qwen2_yarn": ("Qwen2Config", {"rope_theta": 1e5, "rope": _YARN, "max_position_embeddings": 32}, "qwen2"),
    "qwen3": ("Qwen3Config", {"rope_theta": 1e6, "head_dim": 32, "tie_word_embeddings": True}, "qwen2"),
}


def save(name: str, tokenizers: Path, folder: Path) -> None:
    """Writes a model and its tokenizer."""
    config_class, own, kind = MODELS[name]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizers / kind)
    config = getattr(transformers, config_class)(**{**_SMALL, **_in_this_version(own)}, vocab_size=len(tokenizer))
    torch.manual_seed(sum(map(ord, name)))
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_(1.0 if "norm" in key else 0.0, 0.2)
    model.generation_config.eos_token_id = [2, 5]
    model.generation_config.pad_token_id = 0
    model.float().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def _in_this_version(keys: dict[str, Any]) -> dict[str, Any]:
    keys = dict(keys)
    scaling = keys.pop("rope", None)
    if transformers.__version__.startswith("4."):
        return {**keys, **({"rope_scaling": dict(scaling)} if scaling else {})}
    theta = keys.pop("rope_theta", 10000.0)
    return {**keys, "rope_parameters": {"rope_type": "default", "rope_theta": theta, **(scaling or {})}}


def main() -> None:
    """Saves what this version knows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizers", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    arguments = parser.parse_args()
    known = [name for name, (config_class, _, _) in MODELS.items() if hasattr(transformers, config_class)]
    for name in known:
        save(name, arguments.tokenizers, arguments.to / name)
    print(json.dumps({"transformers": transformers.__version__, "saved": known}))


if __name__ == "__main__":
    main()
