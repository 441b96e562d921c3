"""What a config.json says, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.architectures import parse_architecture, read_architecture
from megatron_redone.architectures.hf_config import ignored_keys
from megatron_redone.architectures.unsupported_model import UnsupportedModelError
from megatron_redone.errors import UserError
from tests.helpers import hf_models


def qwen2(**changes: Any) -> dict[str, Any]:
    return {**hf_models.hf_config("qwen2_tied").to_dict(), **changes}


def test_rope_keys_of_transformers_4_and_5_say_the_same() -> None:
    old = qwen2(rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0})
    del old["rope_parameters"]
    new = qwen2(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5})
    assert parse_architecture(old) == parse_architecture(new)
    assert parse_architecture(new).rotary.theta == 5e5


def test_a_directory_and_its_file_are_the_same(tmp_path: Path) -> None:
    hf_models.hf_config("qwen3").save_pretrained(tmp_path)
    assert read_architecture(tmp_path) == read_architecture(tmp_path / "config.json")
    assert read_architecture(tmp_path).qk_norm and not read_architecture(tmp_path).qkv_bias


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, r"'gpt2' is not supported; supported are llama, mistral, qwen2, qwen3"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config is .* quantized weights"),
        ({"per_layer_config": {"0": {"hidden_act": "gelu"}}}, "per_layer_config .* settings of their own"),
        ({"is_causal": False}, "is_causal is False"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'"),
        ({"model_type": "llama", "attention_bias": True}, "attention_bias"),
    ],
)
def test_what_is_not_computed_exactly_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        parse_architecture(qwen2(**changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "not valid JSON"), ("[]", "holds no JSON object"), ("{}", "None")],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=f"config.json: .*{message}"):
        read_architecture(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": None}, "vocab_size is None, a positive whole number"),
        ({"hidden_size": "64"}, "hidden_size is '64'"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"rms_norm_eps": None}, "rms_norm_eps is None"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is no multiple of num_key_value_heads 3"),
        ({"hidden_size": 66}, "hidden_size 66 is no multiple of num_attention_heads 4"),
        ({"head_dim": None}, "head_dim is None"),
        ({"model_type": "llama", "hidden_size": 66, "head_dim": 16}, "hidden_size 66 is no multiple"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000, more than any model has"),
        ({"vocab_size": 10**30}, "vocab_size is 1000000000000000000000000000000, more than any model has"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings is 'false', true or false was expected"),
        ({"architectures": ["LlamaForCausalLM"]}, r"architectures says \['LlamaForCausalLM'\], model_type 'qwen2'"),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "dtype is bfloat16, torch_dtype float16; leave one out"),
        ({"dtype": "float8"}, "dtype is 'float8', one of float64"),
        ({"configuration_files": ["config.4.0.0.json"]}, "configuration_files is .* another file"),
        ({"return_dict": False}, "return_dict is False"),
        ({"rope_parameters": {"rope_type": "linear"}}, "rope_type 'linear' needs the number factor"),
        ({"rope_theta": 5.0}, "rope_theta: 10000.0 and 5.0 contradict"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_parameters and rope_scaling do not say the same .*'default'.* and .*'linear'",
        ),
    ],
)
def test_bad_numbers_and_contradictions_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(qwen2(**changes)))
    with pytest.raises(UserError, match=f"config.json: {message}"):
        read_architecture(tmp_path)


def test_attention_bias_counts_for_families_whose_code_reads_it() -> None:
    assert parse_architecture(qwen2(attention_bias=True)) == parse_architecture(qwen2())
    with pytest.raises(UserError, match="attention_bias"):
        parse_architecture(qwen2(model_type="qwen3", attention_bias=True))


@pytest.mark.parametrize("name", hf_models.MODELS)
def test_keys_that_nobody_reads_are_known_by_name(name: str) -> None:
    whole = hf_models.hf_config(name).to_dict()
    assert ignored_keys(whole) == []
    assert ignored_keys({**whole, "logits_scaling": 0.5, "_name": 1}) == ["logits_scaling"]
