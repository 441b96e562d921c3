"""Attention over packed rows; the oracle is the softmax written out, token by token."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from megatron_redone.distributed.row_layout import RowLayout
from megatron_redone.models import torch_attention
from megatron_redone.models.torch_attention import TorchCoreAttention, _one_for_each

S, HEADS, GROUPS, D = 11, 4, 2, 8


def attention(**keys: float) -> TorchCoreAttention:
    config = SimpleNamespace(context_parallel_size=1, cp_comm_type="p2p")
    return TorchCoreAttention(config, SimpleNamespace(cp=None), **keys)


def tensors(seed: int = 0, rows: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(S, rows, heads, D, generator=generator) for heads in (HEADS, GROUPS, GROUPS))
    return query, key, value


def written_out(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: list[list[int]]) -> torch.Tensor:
    """[S, B, N * D]; `seen` has the keys that each query may look at."""
    out = torch.zeros(S, query.shape[1], HEADS, D)
    for row in range(query.shape[1]):
        for at, keys in enumerate(seen):
            for head in range(HEADS):
                group = head // (HEADS // GROUPS)
                scores = torch.stack([query[at, row, head] @ key[k, row, group] for k in keys]) / D**0.5
                out[at, row, head] = sum(
                    weight * value[k, row, group] for weight, k in zip(scores.softmax(0), keys, strict=True)
                )
    return out.flatten(2)


def test_a_plain_row_sees_what_came_before() -> None:
    qkv = tensors(rows=2)
    expected = written_out(*qkv, [list(range(at + 1)) for at in range(S)])
    torch.testing.assert_close(attention()(*qkv), expected)


@pytest.mark.parametrize("cu_seqlens", [[0, 11], [0, 4, 11], [0, 1, 2, 9, 11], [0, 4, 4, 11]])
def test_packed_segments_see_themselves_alone(cu_seqlens: list[int]) -> None:
    qkv = tensors(1)
    starts = [max(edge for edge in cu_seqlens[:-1] if edge <= at) for at in range(S)]
    expected = written_out(*qkv, [list(range(start, at + 1)) for at, start in enumerate(starts)])
    found = attention()(*qkv, packed_seq_params=RowLayout(cu_seqlens=cu_seqlens))
    torch.testing.assert_close(found, expected)


def test_what_lies_outside_a_segment_changes_no_bit_of_it() -> None:
    layout = RowLayout(cu_seqlens=[0, 5, 11])
    one, other = tensors(2), [tensor.clone() for tensor in tensors(2)]
    for tensor in other:
        tensor[5:] = 77.0
    assert torch.equal(
        attention()(*one, packed_seq_params=layout)[:5], attention()(*other, packed_seq_params=layout)[:5]
    )


def test_a_segment_sees_its_prefix_and_not_what_lies_between() -> None:
    qkv = tensors(3)
    layout = RowLayout(cu_seqlens=[0, 3, 6, 11], prefixes=[(0, 0), (0, 3), (0, 3)])
    starts = [0, 0, 0, 3, 3, 3, 6, 6, 6, 6, 6]
    seen = [[*(range(3) if at >= 3 else ()), *range(start, at + 1)] for at, start in enumerate(starts)]
    torch.testing.assert_close(attention()(*qkv, packed_seq_params=layout), written_out(*qkv, seen))


def test_a_scale_of_its_own_counts() -> None:
    qkv = tensors(4)
    scaled = attention(softmax_scale=0.5)
    query, key, value = qkv
    torch.testing.assert_close(scaled(*qkv), attention()(query * 0.5 * D**0.5, key, value))


def test_masked_attention_on_cuda_shares_no_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch has no kernel for a mask and shared heads, and would write out all scores."""
    given: list[tuple[int, bool]] = []

    def spy(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, enable_gqa: bool, **_: Any) -> torch.Tensor:
        given.append((key.shape[1], enable_gqa))
        return torch.empty_like(query)

    monkeypatch.setattr(torch_attention, "scaled_dot_product_attention", spy)
    with FakeTensorMode() as mode:

        def on_cuda(*shape: int) -> torch.Tensor:  # torch.empty would make one of the CPU beside our platform
            return FakeTensor(mode, torch.empty(*shape, device="meta"), torch.device("cuda"))

        query, key = (on_cuda(S, 1, heads, D) for heads in (HEADS, GROUPS))
        attention()._attend(query, key, key, on_cuda(S, S))
        attention()._attend(query, key, key)
    assert given == [(HEADS, False), (GROUPS, True)]


def test_heads_that_are_not_shared_are_the_same() -> None:
    query, key, value = tensors(5)
    everyones = [_one_for_each(query, shared) for shared in (key, value)]
    torch.testing.assert_close(attention()(query, *everyones), attention()(query, key, value))
