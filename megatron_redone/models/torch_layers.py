"""Norm and activation of the torch backend, each with a backward pass that keeps only what it needs."""

from typing import Any

import torch


class TorchRMSNorm(torch.nn.Module):
    """RMSNorm whose weight says whether sequence parallelism must sum its gradient over tensor-parallel ranks."""

    def __init__(self, config: Any, hidden_size: int, eps: float = 1e-6, **_: Any) -> None:
        super().__init__()
        self.eps = eps
        device = "cpu" if config.use_cpu_initialization else torch.cuda.current_device()
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype, device=device))
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Normalises the last dimension of [..., hidden_size], in fp32."""
        return _RMSNorm.apply(hidden, self.weight, self.eps)  # type: ignore[return-value]


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        wide = hidden.float()
        # The very operations of transformers, so that its logits are met to the last bit.
        inverse = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(hidden, weight, inverse)
        return (wide * inverse).to(hidden.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        hidden, weight, inverse = ctx.saved_tensors
        grad, wide_weight = grads[0].float(), weight.float()
        normal = hidden.float() * inverse
        product = grad * normal
        grad_weight = product.flatten(0, -2).sum(0).to(weight.dtype)
        shared = product.matmul(wide_weight).div_(hidden.shape[-1]).unsqueeze(-1)
        grad_hidden = (grad * wide_weight).addcmul_(normal, shared, value=-1).mul_(inverse)
        return grad_hidden.to(hidden.dtype), grad_weight, None


class TorchSwiGLU(torch.nn.Module):
    """silu(gate) * up; only the input is kept for the backward pass."""

    def __init__(self, config: Any) -> None:
        super().__init__()

    def forward(self, gate_and_up: torch.Tensor) -> torch.Tensor:
        """Gate and up, side by side in [..., 2 * F], to [..., F]."""
        return _SwiGLU.apply(gate_and_up)  # type: ignore[return-value]

    def sharded_state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Nothing: megatron-core asks every module of an MLP for its part of a checkpoint."""
        return {}


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_and_up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate_and_up)
        gate, up = gate_and_up.chunk(2, dim=-1)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (gate_and_up,) = ctx.saved_tensors
        gate, up = gate_and_up.chunk(2, dim=-1)
        grad = torch.empty_like(gate_and_up)
        grad_gate, grad_up = grad.chunk(2, dim=-1)
        torch.ops.aten.silu.out(gate, out=grad_up).mul_(grads[0])
        torch.ops.aten.silu_backward.grad_input(grads[0] * up, gate, grad_input=grad_gate)
        return grad
