"""What cannot be offloaded is refused, and a learning rate reaches every group."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.errors import UserError
from megatron_redone.training.optimizer import _check_offload, set_learning_rate


def test_a_learning_rate_is_multiplied_by_that_of_its_group() -> None:
    """megatron-core's groups; torch's own optimizer steps by what is set."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [weights[0]], "lr_mult": 1.0}, {"params": [weights[1]], "lr_mult": 0.25}]
    optimizer: Any = torch.optim.SGD(groups, lr=9.0)
    set_learning_rate(optimizer, 0.5)
    for weight in weights:
        weight.grad = torch.ones(1)
    optimizer.step()
    assert [float(weight) for weight in weights] == [-0.5, -0.125]


def chunk(device: str, shared: bool, dtype: torch.dtype, fp8_param: bool) -> Any:
    return SimpleNamespace(
        parameters=lambda: iter([SimpleNamespace(device=torch.device(device))]),
        ddp_config=SimpleNamespace(use_distributed_optimizer=shared),
        config=SimpleNamespace(params_dtype=dtype, fp8_param=fp8_param),
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("cpu", True, torch.bfloat16, False), "in main memory already on a CPU"),
        (("cuda", False, torch.bfloat16, False), "needs parallel.use_distributed_optimizer"),
        (("cuda", True, torch.float32, False), "not with model.precision=fp32"),
        (("cuda", True, torch.bfloat16, True), "not with model.fp8.fp8_param_gather"),
    ],
)
def test_what_cannot_be_offloaded_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"optimizer_offload_fraction: .*{message}"):
        _check_offload(chunk(*given))
    _check_offload(chunk("cuda", True, torch.bfloat16, False))
