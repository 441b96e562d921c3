"""config.json in the spellings of transformers 4 and 5 at once, so that both read the same model.

Each of them reads its own spelling and passes over the other's: where one is missing, it takes the default of its class
without a word. Tools that are built on them (CTranslate2, vLLM) read either.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from megatron_redone.architectures import Architecture
from megatron_redone.architectures.families import FAMILIES
from megatron_redone.architectures.layer_kinds import Windows
from megatron_redone.model_folders.dtypes import config_name

# What a config.json may leave to the defaults of a class, which differ from version to version.
_WRITTEN_OUT = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("intermediate_size", "vocab_size", "max_position_embeddings", "rms_norm_eps", "initializer_range"),
    "tie_word_embeddings",
)
# Numbers of yarn that 4.45 does not read.
_LATER_YARN = ("truncate", "mscale", "mscale_all_dim")


def spell_config(content: Mapping[str, Any], architecture: Architecture, dtype: torch.dtype) -> dict[str, Any]:
    """The content of a config.json that says the same in both spellings.

    Args:
        content: As it came.
        architecture: What it describes.
        dtype: Of the weights beside it.
    """
    written_out = {name: getattr(architecture, name) for name in _WRITTEN_OUT if content.get(name) is None}
    if FAMILIES[architecture.model_type].windows is Windows.all_layers and "sliding_window" not in content:
        written_out["sliding_window"] = architecture.sliding_window
    # Names the code of a repository, which does not travel.
    kept = {name: value for name, value in content.items() if name != "auto_map"}
    types = {"dtype": config_name(dtype), "torch_dtype": config_name(dtype)}
    return {**kept, **written_out, **types, **_rotary(architecture)}


def _rotary(architecture: Architecture) -> dict[str, Any]:
    rotary = architecture.rotary
    parameters = {"rope_theta": rotary.theta, "rope_type": rotary.kind, **rotary.scaling}
    return {
        "rope_theta": rotary.theta,
        # CTranslate2 looks for rope_theta in here too, where there is a scaling, and else takes its own default.
        "rope_scaling": None if rotary.kind == "default" else parameters,
        "rope_parameters": parameters,
    }


def read_otherwise(architecture: Architecture) -> Iterator[str]:
    """What transformers 4.45 does not read of a model, in a line each."""
    rotary, length = architecture.rotary, architecture.max_position_embeddings
    if rotary.kind == "yarn":
        trained = rotary.scaling["original_max_position_embeddings"]
        if trained != length:
            yield (
                f"yarn from {trained:,} positions: transformers 4.45 takes it from max_position_embeddings {length:,} "
                "and gives other logits; 4.57 and 5 read both"
            )
        for name in _LATER_YARN:
            if rotary.scaling.get(name) is not None:
                yield f"yarn's {name}: transformers 4.45 does not read it and gives other logits; 4.57 and 5 do"
    if architecture.model_type == "qwen2" and architecture.attention_size != architecture.hidden_size:
        yield f"head_dim {architecture.head_dim} of qwen2: transformers 4.45 does not load it; 4.57 and 5 do"
