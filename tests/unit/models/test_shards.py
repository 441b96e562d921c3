"""The parts that ranks hold put together are the full weight; megatron-core's own split is the oracle in
tests/distributed/test_layouts.py."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.architectures.weights import full_weights
from megatron_redone.models.shards import Shard, _shard, full_name
from tests.helpers import hf_models


def shard(key: str, local_shape: tuple[int, ...], size: int, rank: int, **changes: Any) -> Shard:
    context: Any = SimpleNamespace(config=SimpleNamespace(tensor_model_parallel_size=size), tensor_rank=rank)
    weight = full_weights(hf_models.architecture("qwen2_untied", **changes))[key]
    return _shard(torch.nn.Parameter(torch.full(local_shape, 9.0)), weight, context)


LAYER = "decoder.layers.1."


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize(
    ("key", "split", "shape"),
    [
        (LAYER + "self_attention.linear_qkv.weight", 0, (128, 64)),
        (LAYER + "self_attention.linear_qkv.bias", 0, (128,)),
        (LAYER + "self_attention.linear_proj.weight", 1, (64, 64)),
        (LAYER + "mlp.linear_fc1.weight", 0, (192, 64)),
        (LAYER + "mlp.linear_fc2.weight", 1, (64, 96)),
        (LAYER + "mlp.linear_fc1.layer_norm_weight", None, (64,)),
        ("decoder.final_layernorm.weight", None, (64,)),
    ],
)
def test_the_ranks_parts_cover_the_full_weight_once(key: str, split: int | None, shape: tuple, size: int) -> None:
    full = torch.arange(float(torch.Size(shape).numel())).view(shape)
    local = tuple(count // size if dim == split else count for dim, count in enumerate(shape))
    parts = []
    for rank in range(size):
        found = shard(key, local, size, rank)
        assert found.dim == split and found.full_shape == shape
        found.fill(found.take(full))
        parts.append(found.parameter.detach())
    if split is None:
        assert all(torch.equal(part, full) for part in parts)
        return
    if "linear_fc1" in key:  # each rank holds gate rows above up rows, as SwiGLU wants them
        gates, ups = zip(*(part.chunk(2) for part in parts), strict=True)
        assert torch.equal(torch.cat([*gates, *ups]), full)
        return
    assert torch.equal(torch.cat(parts, split), full)


@pytest.mark.parametrize("key", ["embedding.word_embeddings.weight", "output_layer.weight"])
@pytest.mark.parametrize(("vocab_size", "local"), [(500, 256), (256, 256), (200, 256), (255, 128)])
def test_rows_past_the_vocabulary_are_zero(key: str, vocab_size: int, local: int) -> None:
    full = torch.ones(vocab_size, 64)
    rows = 0
    for rank in range(2):
        found = shard(key, (local, 64), 2, rank, vocab_size=vocab_size)
        part = found.take(full)
        found.fill(part)
        rows += len(part)
        assert torch.equal(found.parameter[: len(part)], part) and not found.parameter[len(part) :].any()
    assert rows == vocab_size


def test_a_model_that_is_not_of_its_family_s_shape_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        shard(LAYER + "mlp.linear_fc2.weight", (64, 50), 2, 0)


@pytest.mark.parametrize(
    ("local", "tied", "full"),
    [
        ("output_layer.weight", True, "embedding.word_embeddings.weight"),
        ("output_layer.weight", False, "output_layer.weight"),
        ("decoder.final_layernorm.weight", False, "decoder.final_layernorm.weight"),
        ("decoder.layers.0.mlp.linear_fc2.weight", True, "decoder.layers.6.mlp.linear_fc2.weight"),
        (
            "decoder.layers.0.input_layernorm.weight",
            True,
            "decoder.layers.6.self_attention.linear_qkv.layer_norm_weight",
        ),
        ("decoder.layers.0.pre_mlp_layernorm.weight", True, "decoder.layers.6.mlp.linear_fc1.layer_norm_weight"),
    ],
)
def test_names_count_layers_over_the_whole_model(local: str, tied: bool, full: str) -> None:
    chunk: Any = SimpleNamespace(decoder=SimpleNamespace(layers=[SimpleNamespace(layer_number=7)]))
    assert full_name(chunk, local, tied) == full
