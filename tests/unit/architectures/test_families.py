"""Every family's row against transformers' own configuration class, for files with keys left out."""

import copy
from typing import Any

import pytest
from transformers import AutoConfig

from megatron_redone.architectures import Architecture, parse_architecture
from megatron_redone.architectures.families import FAMILIES

SUPPORTED = ("llama", "mistral", "qwen2", "qwen3")
FULL: dict[str, Any] = {
    **{"hidden_size": 128, "intermediate_size": 200, "num_hidden_layers": 3, "num_attention_heads": 32},
    **{"num_key_value_heads": 2, "head_dim": 24, "vocab_size": 777, "max_position_embeddings": 1234},
    **{"rms_norm_eps": 3e-5, "initializer_range": 0.5, "tie_word_embeddings": True, "rope_theta": 77.0},
    **{"sliding_window": 99, "hidden_act": "silu"},
}
WINDOW = ("sliding_window", "use_sliding_window", "max_window_layers")  # llama's class knows none
NUMBERS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size"),
    *("vocab_size", "max_position_embeddings", "rms_norm_eps", "initializer_range", "tie_word_embeddings"),
)
SMALL = {"hidden_size": 96, "num_attention_heads": 8, "num_key_value_heads": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "everything": FULL,
    **{f"without {name}": {key: FULL[key] for key in FULL if key != name} for name in FULL},
    **{f"only {name}": {name: FULL[name]} for name in FULL if name != "num_attention_heads"},
    "null key/value heads": {**FULL, "num_key_value_heads": None},
    "sizes only": SMALL,
    "windows on": {**SMALL, "use_sliding_window": True},
    "windows on, one given": {**SMALL, "use_sliding_window": True, "sliding_window": 7},
    "windows on, above all layers": {**SMALL, "use_sliding_window": True, "max_window_layers": 32},
    "windows on, one above": {**SMALL, "use_sliding_window": True, "max_window_layers": 31},
    "windows on in all layers": {**SMALL, "use_sliding_window": True, "max_window_layers": 0},
    "no window": {**SMALL, "sliding_window": None},
    "linear, transformers 4": {**SMALL, "rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
    "linear, transformers 5": {
        **SMALL,
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5.0},
    },
    "yarn that goes by the length": {**SMALL, "rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
    "yarn, no base": {**SMALL, "rope_parameters": {"rope_type": "yarn", "factor": 2.0}, "rope_theta": 9.0},
    "llama3": {
        **SMALL,
        "rope_scaling": {
            **{"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
            "original_max_position_embeddings": 512,
        },
    },
}


def test_the_tests_know_every_family() -> None:
    assert set(SUPPORTED) == FAMILIES.keys()


@pytest.mark.parametrize("family", SUPPORTED)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_number_is_that_of_transformers(family: str, name: str) -> None:
    content = {"model_type": family, **CONFIGS[name]}
    if family == "llama":
        content = {key: value for key, value in content.items() if key not in WINDOW}
    if family == "mistral":  # its code looks at the window alone
        content.pop("use_sliding_window", None)
    if content.get("num_key_value_heads", 0) is None and family == "mistral":
        pytest.skip("transformers takes no null there")
    theirs = AutoConfig.for_model(**copy.deepcopy(content))  # it fills in what is missing in place
    ours = parse_architecture(content)
    assert {key: getattr(ours, key) for key in NUMBERS} == {key: getattr(theirs, key) for key in NUMBERS}
    assert ours.head_dim == (getattr(theirs, "head_dim", None) or theirs.hidden_size // theirs.num_attention_heads)
    assert rotary(ours) == {key: value for key, value in theirs.rope_parameters.items() if key != "type"}
    assert ours.sliding_window == window(theirs)
    # The same from the file that transformers writes, with every default spelt out.
    assert parse_architecture(theirs.to_dict()) == ours


def rotary(architecture: Architecture) -> dict[str, Any]:
    config = architecture.rotary
    return {"rope_theta": config.theta, "rope_type": config.kind, **config.scaling}


def window(theirs: Any) -> int | None:
    """Of the layers that have one; only mistral's class has no `layer_types`."""
    kinds = getattr(theirs, "layer_types", None)
    slides = theirs.model_type == "mistral" if kinds is None else "sliding_attention" in kinds
    return theirs.sliding_window if slides else None


# What the classes of transformers 4.57.6 take for each key that is left out: `LlamaConfig().to_dict()`.
RELEASE_4: dict[str, dict[str, Any]] = {
    "llama": {
        **{"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
        **{"num_key_value_heads": 32, "head_dim": 128, "vocab_size": 32000, "max_position_embeddings": 2048},
        **{"rms_norm_eps": 1e-06, "initializer_range": 0.02, "tie_word_embeddings": False, "rope_theta": 10000.0},
        **{"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "rope_scaling": None},
    },
    "mistral": {
        **{"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
        **{"num_key_value_heads": 8, "head_dim": None, "vocab_size": 32000, "max_position_embeddings": 131072},
        **{"rms_norm_eps": 1e-06, "initializer_range": 0.02, "tie_word_embeddings": False, "rope_theta": 10000.0},
        **{"hidden_act": "silu", "sliding_window": 4096},
    },
    "qwen2": {
        **{"hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32},
        **{"num_key_value_heads": 32, "vocab_size": 151936, "max_position_embeddings": 32768},
        **{"rms_norm_eps": 1e-06, "initializer_range": 0.02, "tie_word_embeddings": False, "rope_theta": 10000.0},
        **{"hidden_act": "silu", "use_sliding_window": False, "sliding_window": None, "max_window_layers": 28},
        **{"rope_scaling": None},
    },
    "qwen3": {
        **{"hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32},
        **{"num_key_value_heads": 32, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 32768},
        **{"rms_norm_eps": 1e-06, "initializer_range": 0.02, "tie_word_embeddings": False, "rope_theta": 10000.0},
        **{"hidden_act": "silu", "use_sliding_window": False, "sliding_window": None, "max_window_layers": 28},
        **{"attention_bias": False, "rope_scaling": None},
    },
}


@pytest.mark.parametrize("family", SUPPORTED)
def test_each_key_left_out_is_what_transformers_4_takes(family: str) -> None:
    """The file spells out all that release 4 takes; without any one key, and without all, the model is the same."""
    whole = {"model_type": family, **RELEASE_4[family]}
    spelt_out = parse_architecture(whole)
    assert parse_architecture({"model_type": family}) == spelt_out
    for name in RELEASE_4[family]:
        assert parse_architecture({key: value for key, value in whole.items() if key != name}) == spelt_out, name
