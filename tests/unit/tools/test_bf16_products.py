"""bf16 products on any processor: what comes out is the fp32 product rounded once, and nothing stays replaced."""

import pytest
import torch
from torch.library import get_kernel

from tools.benchmarks import bf16_products


@pytest.fixture(autouse=True)
def _without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16_products, "bf16_instructions", lambda: False)


def test_products_and_their_gradients_are_those_of_fp32_rounded_once() -> None:
    left, right = torch.randn(5, 64).bfloat16().requires_grad_(), torch.randn(64, 7).bfloat16()
    with bf16_products.fast_products():
        out = left @ right
        out.backward(torch.ones_like(out))
    assert torch.equal(out, (left.float() @ right.float()).bfloat16())
    assert left.grad is not None and torch.equal(left.grad, (torch.ones(5, 7) @ right.float().T).bfloat16())


def test_attention_is_that_of_fp32_rounded_once() -> None:
    heads = torch.randn(1, 2, 16, 8).bfloat16()
    attention = torch.nn.functional.scaled_dot_product_attention
    with bf16_products.fast_products():
        out = attention(heads, heads, heads, is_causal=True)
    assert torch.equal(out, attention(heads.float(), heads.float(), heads.float(), is_causal=True).bfloat16())


def test_products_of_fp32_are_as_they_were() -> None:
    matrix = torch.randn(9, 9)
    expected = matrix @ matrix
    with bf16_products.fast_products():
        assert torch.equal(matrix @ matrix, expected)


@pytest.mark.parametrize("failing", [False, True])
def test_the_kernels_come_back(failing: bool) -> None:
    before = str(get_kernel("aten::mm", "CPU"))
    try:
        with bf16_products.fast_products():
            assert str(get_kernel("aten::mm", "CPU")) != before
            if failing:
                raise ValueError
    except ValueError:
        pass
    assert str(get_kernel("aten::mm", "CPU")) == before
