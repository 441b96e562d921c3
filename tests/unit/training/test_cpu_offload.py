"""The optimizer in main memory: what is refused, and gradients that lie where megatron-core then puts them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.errors import UserError
from megatron_redone.training.optimizer import build_optimizer
from megatron_redone.training.train_step import _clip


@pytest.mark.parametrize(
    ("device", "distributed", "dtype", "fp8_param", "message"),
    [
        ("cpu", True, torch.bfloat16, False, "leave it 0"),
        ("cuda", False, torch.bfloat16, False, "needs parallel.use_distributed_optimizer"),
        ("cuda", True, torch.float32, False, "not with model.precision=fp32"),
        ("cuda", True, torch.bfloat16, True, "not with model.fp8.fp8_param_gather"),
    ],
)
def test_refusals(device: str, distributed: bool, dtype: torch.dtype, fp8_param: bool, message: str) -> None:
    chunk: Any = SimpleNamespace(
        parameters=lambda: iter([SimpleNamespace(device=torch.device(device))]),
        ddp_config=SimpleNamespace(use_distributed_optimizer=distributed),
        config=SimpleNamespace(params_dtype=dtype, fp8_param=fp8_param),
    )
    with pytest.raises(UserError, match=message):
        build_optimizer([chunk], OptimizerConfig(optimizer_offload_fraction=0.5))


def test_gradients_of_another_type_are_clipped() -> None:
    """A bf16 weight with an fp32 gradient apart, beside one with its own; one that has none is left alone."""
    apart, own, none = (torch.zeros(2, dtype=dtype) for dtype in (torch.bfloat16, torch.float32, torch.float32))
    apart.decoupled_grad = torch.full((2,), 4.0)  # type: ignore[attr-defined]
    own.grad = torch.full((2,), 2.0)
    groups = [{"params": [apart, own, none]}]
    _clip(SimpleNamespace(config=SimpleNamespace(clip_grad=1.0), param_groups=groups), 10.0)  # type: ignore[arg-type]
    assert apart.decoupled_grad.tolist() == pytest.approx([0.4, 0.4], rel=1e-5)  # type: ignore[attr-defined]
    assert own.grad.tolist() == pytest.approx([0.2, 0.2], rel=1e-5) and none.grad is None
