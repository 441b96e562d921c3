"""What a config.json says, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.models.architecture import parse_architecture, read_architecture
from megatron_redone.models.layout import check_layout, layers_of_stages, padded_vocab_size
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
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'"),
        ({"model_type": "llama", "attention_bias": True}, "attention_bias"),
    ],
)
def test_what_is_not_computed_exactly_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_architecture(qwen2(**changes))


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), ("{", "not valid JSON"), ("[]", "not a model's"), ("{}", "None")]
)
def test_a_bad_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=f"config.json: .*{message}"):
        read_architecture(tmp_path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    content = qwen2()
    del content["intermediate_size"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="'intermediate_size' is missing"):
        read_architecture(tmp_path)


@pytest.mark.parametrize(
    ("parallel", "seq_length", "message"),
    [
        ({"tensor_model_parallel_size": 3}, 64, "3 does not divide the model's 4 attention heads"),
        ({"tensor_model_parallel_size": 4}, 64, "4 does not divide the model's 2 key/value heads"),
        ({"pipeline_model_parallel_size": 3}, 64, "4 layers cannot be cut into 3 equal pieces"),
        (
            {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 4},
            64,
            r"4 layers cannot be cut into 8 equal pieces \(pipeline 2 x virtual 4\)",
        ),
        (
            {"pipeline_model_parallel_size": 3, "num_layers_in_first_pipeline_stage": 1},
            64,
            "with 1 in the first of 3 stages and an equal share in the last, the model's 4 layers cannot be shared out",
        ),
        ({"pipeline_model_parallel_size": 2, "num_layers_in_last_pipeline_stage": 4}, 64, "4 in the last"),
        (
            {
                "pipeline_model_parallel_size": 2,
                "num_layers_in_first_pipeline_stage": 1,
                "num_layers_in_last_pipeline_stage": 2,
            },
            64,
            "with 1 in the first of 2 stages and 2 in the last",
        ),
        ({"context_parallel_size": 2}, 66, "66 is not a multiple of 4"),
        ({"tensor_model_parallel_size": 2, "sequence_parallel": True}, 65, "65 does not divide into 2 parts"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(parallel: dict[str, Any], seq_length: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_layout(parse_architecture(qwen2()), ParallelConfig(**parallel), seq_length)


def test_a_layout_that_fits_is_accepted() -> None:
    sizes = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2, "context_parallel_size": 2}
    check_layout(parse_architecture(qwen2()), ParallelConfig(**sizes, sequence_parallel=True), 64)


@pytest.mark.parametrize(
    ("stages", "first", "last", "counts"),
    [(1, None, None, [4]), (2, None, None, [2, 2]), (2, None, 1, [3, 1]), (2, 1, 3, [1, 3]), (3, 2, None, [2, 1, 1])],
)
def test_layers_of_pipeline_stages(stages: int, first: int | None, last: int | None, counts: list[int]) -> None:
    parallel = ParallelConfig(
        pipeline_model_parallel_size=stages,
        num_layers_in_first_pipeline_stage=first,
        num_layers_in_last_pipeline_stage=last,
    )
    assert layers_of_stages(parse_architecture(qwen2()), parallel) == counts


def test_a_sliding_window_counts_only_where_it_is_switched_on() -> None:
    check_layout(parse_architecture(qwen2(sliding_window=16)), ParallelConfig(), 64)
    windowed = parse_architecture(qwen2(sliding_window=16, use_sliding_window=True))
    with pytest.raises(UserError, match="sliding window of 16"):
        check_layout(windowed, ParallelConfig(), 64)


@pytest.mark.parametrize(("tensor", "rows"), [(1, 151936), (2, 152064), (4, 152064), (8, 152576)])
def test_vocabulary_rows_of_qwen(tensor: int, rows: int) -> None:
    shape = parse_architecture(qwen2(vocab_size=151936))
    assert padded_vocab_size(shape, ParallelConfig(tensor_model_parallel_size=tensor)) == rows
