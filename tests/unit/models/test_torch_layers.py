"""Hand-written backward passes. The oracle is autograd over torch's own modules, in double precision."""

from types import SimpleNamespace

import pytest
import torch

from megatron_redone.models.rotary import RotaryConfig, RotaryTable, rotate, split_and_rotate
from megatron_redone.models.torch_layers import TorchRMSNorm, TorchSwiGLU


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm(dtype: torch.dtype) -> None:
    config = SimpleNamespace(use_cpu_initialization=True, params_dtype=dtype, sequence_parallel=True)
    norm = TorchRMSNorm(config, 24, eps=1e-5)
    assert norm.weight.sequence_parallel  # type: ignore[attr-defined]
    torch.nn.init.normal_(norm.weight, 1.0)
    hidden, grad = (torch.randn(5, 3, 24).to(dtype) for _ in range(2))
    check(norm, [norm.weight], hidden, grad, lambda x, w: torch.nn.functional.rms_norm(x, (24,), w, 1e-5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_swiglu(dtype: torch.dtype) -> None:
    hidden, grad = torch.randn(5, 3, 24).to(dtype), torch.randn(5, 3, 12).to(dtype)
    check(TorchSwiGLU(None), [], hidden, grad, lambda x: torch.nn.functional.silu(x[..., :12]) * x[..., 12:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation(dtype: torch.dtype) -> None:
    table = RotaryTable(RotaryConfig(head_dim=8, theta=100.0), torch.device("cpu"))(torch.tensor([[0, 1, 2, 0, 7]]))

    def complex_rotation(x: torch.Tensor) -> torch.Tensor:
        turned = torch.complex(x[..., :4], x[..., 4:]) * torch.complex(*table.double())
        return torch.cat([turned.real, turned.imag], dim=-1)

    hidden, grad = (torch.randn(5, 1, 3, 8).to(dtype) for _ in range(2))
    check(lambda x: rotate(x, table), [], hidden, grad, complex_rotation)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_split_and_rotation_in_one(dtype: torch.dtype) -> None:
    table = RotaryTable(RotaryConfig(head_dim=8, theta=100.0), torch.device("cpu"))(torch.tensor([[0, 1, 2, 0, 7]]))
    mixed = torch.randn(5, 1, 2, 5 * 8).to(dtype).requires_grad_()
    query, key, value = torch.split(mixed, [24, 8, 8], dim=-1)
    expected = (rotate(query.reshape(5, 1, 6, 8), table), rotate(key, table), value)
    found = split_and_rotate(mixed, table, 8)
    grads = [torch.randn(part.shape).to(dtype) for part in found]
    [wanted] = torch.autograd.grad(expected, mixed, grads)
    [grad] = torch.autograd.grad(found, mixed, grads)
    for a, b in zip((*found, grad), (*expected, wanted), strict=True):
        assert torch.equal(a, b)


def check(module, weights, hidden, grad, oracle) -> None:
    hidden.requires_grad_()
    inputs = [hidden, *weights]
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    out, expected = module(hidden), oracle(*wide)
    assert out.dtype == hidden.dtype
    tolerance = {"rtol": 2e-2, "atol": 5e-2} if hidden.dtype is torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    found = torch.autograd.grad(out, inputs, grad)
    wanted = torch.autograd.grad(expected, wide, grad.double())
    for a, b in zip((out, *found), (expected, *wanted), strict=True):
        torch.testing.assert_close(a.double(), b, **tolerance)
