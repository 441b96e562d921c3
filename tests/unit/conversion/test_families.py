"""The tables against transformers' own models."""

import pytest

from megatron_redone.conversion import families
from megatron_redone.models import architecture
from megatron_redone.models.shards import EMBEDDING, OUTPUT
from tests.helpers import hf_models


def test_every_supported_family_has_a_table() -> None:
    assert families.FAMILIES.keys() == architecture.FAMILIES.keys()


@pytest.mark.parametrize("model", hf_models.MODELS)
def test_tensors_are_those_of_transformers(model: str) -> None:
    theirs = {name: tuple(value.shape) for name, value in hf_models.hf_model(model).named_parameters()}
    ours = {tensor.name: tensor.shape for tensor in families.family_tensors(hf_models.architecture(model))}
    assert ours == theirs


@pytest.mark.parametrize("model", ["qwen2_tied", "qwen2_untied"])
def test_keys_are_those_of_the_engine(model: str) -> None:
    shape = hf_models.architecture(model)
    keys = families.full_weights(shape).keys()
    assert keys == hf_models.full_weights(hf_models.hf_model(model), shape).keys()
    assert EMBEDDING in keys and (OUTPUT in keys) == (not shape.tie_word_embeddings)
