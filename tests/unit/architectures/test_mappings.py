"""Full weights put together by each mapping, against torch's own views and concatenations."""

from typing import Any

import pytest
import torch

from megatron_redone.architectures.mappings import (
    Direct,
    GateAboveUp,
    InterleavedQKV,
    PaddedVocabulary,
    TensorRows,
    TiedOutput,
)
from tests.helpers import hf_models


def together(mapping: Any, name: str, tensors: dict[str, torch.Tensor], model: str) -> torch.Tensor:
    rows = mapping.rows(name, hf_models.architecture(model))
    return torch.cat([tensors[part.name][part.first : part.last] for part in rows])


@pytest.mark.parametrize("model", ["qwen2_tied", "qwen3", "mistral"])
def test_a_group_of_queries_lies_before_its_key_and_value(model: str) -> None:
    shape = hf_models.architecture(model)
    groups, size = shape.num_key_value_heads, shape.head_dim
    q, k, v = (torch.randn(heads * size, 3) for heads in (shape.num_attention_heads, groups, groups))
    found = together(InterleavedQKV(), "{}_proj", {"q_proj": q, "k_proj": k, "v_proj": v}, model)
    expected = torch.cat([part.view(groups, -1, size, 3) for part in (q, k, v)], 1)
    assert torch.equal(found, expected.reshape(-1, 3))


def test_the_gate_lies_above_and_both_are_split_by_themselves() -> None:
    size = hf_models.architecture("qwen3").intermediate_size
    gate, up = torch.randn(size, 3), torch.randn(size, 3)
    found = together(GateAboveUp(), "mlp.{}_proj", {"mlp.gate_proj": gate, "mlp.up_proj": up}, "qwen3")
    gates, ups = found.chunk(GateAboveUp().blocks)
    assert torch.equal(gates, gate) and torch.equal(ups, up)
    assert {mapping.blocks for mapping in (InterleavedQKV(), Direct("hidden_size"), TiedOutput())} == {1}


def test_rows_of_ids_and_of_named_sizes() -> None:
    tied, untied = hf_models.architecture("qwen2_tied"), hf_models.architecture("qwen2_untied")
    assert list(PaddedVocabulary().rows("e", tied)) == list(TiedOutput().rows("e", untied)) == [TensorRows("e", 0, 500)]
    assert list(TiedOutput().rows("e", tied)) == [], "the embedding serves for it"
    assert list(Direct("intermediate_size").rows("d", tied)) == [TensorRows("d", 0, 96)]
