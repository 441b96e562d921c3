"""Frequencies and rotations against transformers."""

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from megatron_redone.models.rotary import RotaryTable, inverse_frequencies, rotate, split_and_rotate
from tests.helpers import hf_models

YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 64}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
PARAMETERS = {
    "default": {"rope_type": "default", "rope_theta": 1e6},
    "linear": {"rope_type": "linear", "factor": 3.0, "rope_theta": 10000.0},
    "llama3": {**LLAMA3, "original_max_position_embeddings": 512},
    "yarn": YARN,
    "yarn by length": {key: YARN[key] for key in YARN if key != "original_max_position_embeddings"},
    "yarn of a short text": {**YARN, "original_max_position_embeddings": 1},
    "yarn of a long text": {**YARN, "original_max_position_embeddings": 10**6, "truncate": False},
    "yarn beta": {**YARN, "beta_fast": 16, "beta_slow": 2},
    "yarn not truncated": {**YARN, "truncate": False},
    "yarn attention_factor": {**YARN, "attention_factor": 1.25},
    "yarn mscale": {**YARN, "mscale": 0.7, "mscale_all_dim": 0.5},
    "yarn that shrinks": {**YARN, "factor": 0.5},
}


@pytest.mark.parametrize("head_dim", [16, 64, 128])
@pytest.mark.parametrize("name", PARAMETERS)
def test_frequencies_are_those_of_transformers(name: str, head_dim: int) -> None:
    changes = {"rope_parameters": PARAMETERS[name], "head_dim": head_dim}
    theirs_config = hf_models.hf_config("llama3_scaled", **changes)
    frequencies, factor = inverse_frequencies(hf_models.architecture("llama3_scaled", **changes).rotary)
    theirs = LlamaRotaryEmbedding(theirs_config)
    torch.testing.assert_close(frequencies, theirs.inv_freq, rtol=3e-7, atol=0)  # two units in the last place
    assert factor == theirs.attention_scaling


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_are_rotated_as_in_transformers_by_the_positions_given(dtype: torch.dtype) -> None:
    config = hf_models.hf_config("llama3_scaled")
    positions = torch.tensor([[0, 1, 2, 0, 1, 9], [5, 6, 7, 8, 0, 1]])
    query, key = (torch.randn(2, 6, heads, 16, dtype=dtype) for heads in (4, 2))  # [B, S, heads, D]
    cos, sin = LlamaRotaryEmbedding(config)(query, positions)
    theirs = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=2)
    table = RotaryTable(hf_models.architecture("llama3_scaled").rotary, torch.device("cpu"))(positions)
    for heads, expected in zip((query, key), theirs, strict=True):
        ours = rotate(heads.transpose(0, 1), table).transpose(0, 1)
        tolerance = {torch.float32: 0.0, torch.bfloat16: 0.04}[dtype]  # theirs rounds the table too
        torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)


def test_splitting_and_rotating_at_once_is_both_one_after_the_other() -> None:
    table = RotaryTable(hf_models.architecture("llama3_scaled").rotary, torch.device("cpu"))(torch.arange(5)[None])
    mixed = torch.randn(5, 1, 2, 4 * 16, requires_grad=True)  # two groups: two queries, a key, a value
    parts = mixed.unflatten(-1, (4, 16))
    expected = (
        rotate(parts[..., :2, :].flatten(2, 3), table),
        rotate(parts[..., 2, :], table),
        parts[..., 3, :],
    )
    found = split_and_rotate(mixed, table, 16)
    upstream = [torch.randn_like(tensor) for tensor in expected]
    gradients = []
    for tensors in (expected, found):
        gradients.append(torch.autograd.grad(tensors, mixed, upstream, retain_graph=True)[0])
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    torch.testing.assert_close(*gradients)
