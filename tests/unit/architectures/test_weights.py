"""The tables against transformers' own models."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from megatron_redone.architectures import parse_architecture
from megatron_redone.architectures.families import EMBEDDING, FAMILIES, OUTPUT
from megatron_redone.architectures.weights import family_tensors, full_weights
from tests.helpers import hf_models


@pytest.mark.parametrize("model", hf_models.MODELS)
def test_tensors_are_those_of_transformers(model: str) -> None:
    theirs = {name: tuple(value.shape) for name, value in hf_models.hf_model(model).named_parameters()}
    ours = {tensor.name: tensor.shape for tensor in family_tensors(hf_models.architecture(model))}
    assert ours == theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_of_a_config_that_says_nothing_are_those_of_transformers(family: str) -> None:
    config = {"model_type": family, "num_hidden_layers": 1}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    theirs = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert {tensor.name: tensor.shape for tensor in family_tensors(parse_architecture(config))} == theirs


@pytest.mark.parametrize("model", ["qwen2_tied", "qwen2_untied"])
def test_keys_are_those_of_the_engine(model: str) -> None:
    architecture = hf_models.architecture(model)
    keys = full_weights(architecture).keys()
    assert keys == hf_models.full_weights(hf_models.hf_model(model), architecture).keys()
    assert EMBEDDING in keys and (OUTPUT in keys) == (not architecture.tie_word_embeddings)


@pytest.mark.parametrize("model", hf_models.MODELS)
def test_the_arrangement_of_rows_is_that_of_the_engine(model: str) -> None:
    """The oracle interleaves with views; here rows are put together by their ranges."""
    hf_model, architecture = hf_models.hf_model(model), hf_models.architecture(model)
    tensors, expected = hf_model.state_dict(), hf_models.full_weights(hf_model, architecture)
    for key, weight in full_weights(architecture).items():
        whole = torch.cat([tensors[part.name][part.first : part.last] for part in weight.parts])
        assert torch.equal(whole, expected[key]), key
        half = weight.rows // 2
        cut = torch.cat([tensors[part.name][part.first : part.last] for part in weight.cut(3, half)])
        assert torch.equal(cut, expected[key][3:half]), key


@pytest.mark.parametrize("model", hf_models.MODELS)
def test_every_tensor_is_found_again_in_the_full_weight_that_holds_it(model: str) -> None:
    hf_model, architecture = hf_models.hf_model(model), hf_models.architecture(model)
    theirs, full = hf_model.state_dict(), hf_models.full_weights(hf_model, architecture)
    for tensor in family_tensors(architecture):
        rows = [full[tensor.weight.key][first:last] for first, last in tensor.ranges]
        assert torch.equal(torch.cat(rows), theirs[tensor.name]), tensor.name
