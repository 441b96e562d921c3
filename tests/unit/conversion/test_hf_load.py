"""The slices that ranks read, put together, are the weights; no rank reads more than its own."""

from pathlib import Path

import pytest
import torch

from megatron_redone.architectures.weights import full_weights
from megatron_redone.conversion.hf_load import _read
from megatron_redone.model_folders.hf_reader import HFWeights
from megatron_redone.models.shards import Shard
from tests.helpers import hf_models

LAYER = "decoder.layers.0."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf")
    hf_models.hf_model("qwen2_untied", num_hidden_layers=1).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("key", "dim", "ranges"),
    [
        (LAYER + "mlp.linear_fc1.weight", 0, [((0, 48), (96, 144)), ((48, 96), (144, 192))]),
        (LAYER + "self_attention.linear_qkv.weight", 0, [((0, 64),), ((64, 128),)]),
        (LAYER + "mlp.linear_fc2.weight", 1, [((0, 48),), ((48, 96),)]),
        ("embedding.word_embeddings.weight", 0, [((0, 256),), ((256, 500),), ((500, 500),)]),
        ("decoder.final_layernorm.weight", None, [()]),
    ],
)
def test_slices_of_ranks_are_those_of_the_full_weight(
    folder: Path, key: str, dim: int | None, ranges: list[tuple[tuple[int, int], ...]]
) -> None:
    shape = hf_models.architecture("qwen2_untied", num_hidden_layers=1)
    weight = full_weights(shape)[key]
    expected = hf_models.full_weights(hf_models.hf_model("qwen2_untied", num_hidden_layers=1), shape)[key]
    for own in ranges:
        shard = Shard(
            name=key, parameter=torch.nn.Parameter(torch.empty(0)), full_shape=weight.shape, dim=dim, ranges=own
        )
        found = _read(shard, weight, HFWeights(folder, shape))
        parts = [expected.narrow(dim or 0, first, last - first) for first, last in own] or [expected]
        assert torch.equal(found, torch.cat(parts, dim or 0))


def test_a_shard_of_another_shape_is_a_bug(folder: Path) -> None:
    shape = hf_models.architecture("qwen2_untied", num_hidden_layers=1)
    weight = full_weights(shape)["decoder.final_layernorm.weight"]
    shard = Shard(name=weight.key, parameter=torch.nn.Parameter(torch.empty(0)), full_shape=(65,), dim=None, ranges=())
    with pytest.raises(AssertionError):
        _read(shard, weight, HFWeights(folder, shape))
