"""A config.json in both spellings says one thing to transformers 5, to 4's names, and to our own reader."""

from typing import Any

import pytest
import torch
import transformers

from megatron_redone.architectures import parse_architecture
from megatron_redone.conversion.config_spellings import read_otherwise, spell_config
from tests.helpers import hf_models


def older(content: dict[str, Any]) -> dict[str, Any]:
    """The config.json that transformers 4 writes for the same model."""
    rope = dict(content["rope_parameters"])
    rest = {name: value for name, value in content.items() if name not in ("rope_parameters", "dtype", "layer_types")}
    theta, kind = rope.pop("rope_theta"), rope["rope_type"]
    return {
        **rest,
        "torch_dtype": "float32",
        "rope_theta": theta,
        "rope_scaling": None if kind == "default" else rope,
    }


def spelled(content: dict[str, Any], dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    return spell_config(content, parse_architecture(content), dtype)


@pytest.mark.parametrize("name", hf_models.MODELS)
def test_both_spellings_are_written_from_either(name: str) -> None:
    newer = hf_models.hf_config(name).to_dict()
    for content in (newer, older(newer)):
        found = spelled(content, torch.bfloat16)
        assert found["dtype"] == found["torch_dtype"] == "bfloat16"
        assert found["rope_theta"] == found["rope_parameters"]["rope_theta"] == newer["rope_parameters"]["rope_theta"]
        scaling = found["rope_scaling"] or {"rope_type": "default", "rope_theta": found["rope_theta"]}
        assert scaling == found["rope_parameters"] == {**scaling, **newer["rope_parameters"]}
        assert parse_architecture(found) == parse_architecture(newer)
        # transformers 5 itself makes the same configuration of it.
        ours = type(hf_models.hf_config(name))(**found)
        assert ours.rope_parameters == {**newer["rope_parameters"], **found["rope_parameters"]}
        assert str(ours.dtype) in ("bfloat16", "torch.bfloat16")


@pytest.mark.parametrize("name", ["LlamaConfig", "MistralConfig", "Qwen2Config", "Qwen3Config"])
def test_what_is_left_to_the_class_is_written_out(name: str) -> None:
    default = getattr(transformers, name)()
    null = {} if "Qwen" in name else {"head_dim": None}  # which transformers takes for the other two only
    found = spelled({"model_type": default.model_type, **null})
    for key in ("hidden_size", "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings", "max_position_embeddings"):
        assert found[key] == getattr(default, key), key
    heads = default.hidden_size // default.num_attention_heads
    assert found["head_dim"] == (getattr(default, "head_dim", None) or heads)
    assert found.get("sliding_window") == (default.sliding_window if name == "MistralConfig" else None)


def test_code_of_a_repository_is_not_named_and_other_keys_stay() -> None:
    content = {"model_type": "llama", "auto_map": {"AutoModelForCausalLM": "modeling.Mine"}, "mine": [1]}
    found = spelled(content)
    assert "auto_map" not in found and found["mine"] == [1]
    assert spelled({"model_type": "mistral", "sliding_window": None})["sliding_window"] is None


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ({}, []),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, []),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}},
            ["yarn from 1,024 positions: transformers 4.45 takes it from max_position_embeddings 32,768"],
        ),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "truncate": False}}, ["yarn's truncate"]),
        ({"head_dim": 64}, ["head_dim 64 of qwen2: transformers 4.45 does not load it"]),
    ],
)
def test_what_an_older_version_does_not_read_is_told(keys: dict[str, Any], lines: list[str]) -> None:
    found = list(read_otherwise(parse_architecture({"model_type": "qwen2", **keys})))
    assert len(found) == len(lines) and all(one.startswith(other) for one, other in zip(found, lines, strict=True))
