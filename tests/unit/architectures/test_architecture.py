"""Sizes that follow from others are those of transformers' layers."""

import dataclasses

import pytest

from tests.helpers import hf_models


@pytest.mark.parametrize("model", hf_models.MODELS)
def test_the_width_of_attention_is_that_of_the_output_projection(model: str) -> None:
    theirs = hf_models.hf_model(model, num_hidden_layers=1).model.layers[0].self_attn
    ours = hf_models.architecture(model, num_hidden_layers=1)
    assert ours.attention_size == theirs.o_proj.in_features == theirs.q_proj.out_features
    assert ours.num_key_value_heads * ours.head_dim == theirs.k_proj.out_features
    assert ours.rotary.head_dim == theirs.head_dim == ours.head_dim


def test_what_is_known_of_a_model_does_not_change_and_compares_by_value() -> None:
    one, same = hf_models.architecture("qwen2_yarn"), hf_models.architecture("qwen2_yarn")
    assert one == same and one != hf_models.architecture("qwen2_yarn", num_hidden_layers=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.hidden_size = 65  # type: ignore[misc]


def test_yarn_knows_more_positions_than_the_file_may_say() -> None:
    """Qwen2.5's instructions add yarn to config.json and leave max_position_embeddings at the length trained."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 256}
    assert hf_models.architecture("qwen2_tied").known_positions == 256
    assert hf_models.architecture("qwen2_tied", rope_parameters=yarn).known_positions == 1024
    assert hf_models.architecture("qwen2_yarn").known_positions == 256
