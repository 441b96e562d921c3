"""The oracle is torch's AdamW."""

import copy
from typing import Any

import pytest
import torch
from megatron.core import optimizer as megatron_optimizer

from megatron_redone.config.optimizer import MomentsDtype, OptimizerConfig
from megatron_redone.errors import UserError
from megatron_redone.training import fused_adam
from megatron_redone.training.fused_adam import FusedAdam, use_fused_adam


def parameters() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in ((7, 5), (11,), (3,))]


def test_steps_equal_torch() -> None:
    mine, theirs = parameters(), parameters()
    options = {"lr": 1e-2, "betas": (0.8, 0.95), "eps": 1e-6}

    def groups(params: list[torch.nn.Parameter]) -> list[dict]:
        return [{"params": params[:1], "weight_decay": 0.3}, {"params": params[1:], "weight_decay": 0.0}]

    ours, oracle = FusedAdam(groups(mine), **options), torch.optim.AdamW(groups(theirs), **options)
    for number in range(5):
        for a, b in zip(mine, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        if number == 2:
            mine[2].grad = theirs[2].grad = torch.zeros(3)
        ours.step()
        oracle.step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_the_step_is_in_the_group_and_survives_a_checkpoint() -> None:
    mine = parameters()
    optimizer = FusedAdam(mine)
    for _ in range(3):
        for parameter in mine:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert optimizer.param_groups[0]["step"] == 3 and set(optimizer.state[mine[0]]) == {"exp_avg", "exp_avg_sq"}
    other = [torch.nn.Parameter(parameter.detach().clone()) for parameter in mine]
    loaded = FusedAdam(other)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for a, b in zip(mine, other, strict=True):
        a.grad, b.grad = torch.full_like(a, 0.5), torch.full_like(b, 0.5)
    optimizer.step()
    loaded.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_moments_in_bf16_follow_those_in_fp32() -> None:
    """They lie in bf16 between steps, and each step is computed in fp32.

    Rounding stops a moment up to 2^-9 / (1 - beta) short: two percent of the first, four of the second one, of which a
    step takes the root.
    """
    rounded, exact = parameters(), parameters()
    begin = [parameter.detach().clone() for parameter in exact]
    options = {"lr": 1e-2, "betas": (0.9, 0.95)}
    ours, oracle = FusedAdam(rounded, moments_dtype=torch.bfloat16, **options), torch.optim.AdamW(exact, **options)
    generator = torch.Generator().manual_seed(3)
    for _ in range(30):
        for a, b in zip(rounded, exact, strict=True):
            a.grad = torch.randn(a.shape, generator=generator) + 0.5
            b.grad = a.grad.clone()
        ours.step()
        oracle.step()
    for a, b, start in zip(rounded, exact, begin, strict=True):
        assert {state.dtype for state in ours.state[a].values()} == {torch.bfloat16}
        assert (a - b).norm() < 0.04 * (b - start).norm() and not torch.equal(a, b)


def test_moments_that_were_loaded_in_fp32_are_rounded_by_the_next_step() -> None:
    """megatron-core makes them so before it reads a checkpoint."""
    one = torch.nn.Parameter(torch.ones(3))
    optimizer = FusedAdam([one], moments_dtype=torch.bfloat16)
    optimizer.state[one] = {"exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
    one.grad = torch.full((3,), 0.3)
    optimizer.step()
    assert optimizer.state[one]["exp_avg"].dtype is torch.bfloat16 and one.max() < 1


@pytest.mark.parametrize("keys", [{"adam_beta2": 0.999}, {"adam_beta1": 0.96}, {"optimizer_offload_fraction": 0.5}])
def test_moments_that_bf16_cannot_hold_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="moments_dtype: "):
        OptimizerConfig(moments_dtype=MomentsDtype.bf16, **keys)
    OptimizerConfig(**keys)


def test_another_library_s_optimizer_makes_way_for_bf16_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = object()
    monkeypatch.setattr(fused_adam.cpu_platform, "installed", lambda: False)
    monkeypatch.setattr(fused_adam._FOUND, "Adam", theirs)
    monkeypatch.setattr(fused_adam._FOUND, "USING_PYTORCH_OPTIMIZER", False)
    for name in ("Adam", "USING_PYTORCH_OPTIMIZER"):
        monkeypatch.setattr(megatron_optimizer, name, getattr(fused_adam._FOUND, name))
    for name in vars(fused_adam._FOUND_DISTRIBUTED):
        monkeypatch.setattr(fused_adam.distrib_optimizer, name, getattr(fused_adam.distrib_optimizer, name))
    use_fused_adam(MomentsDtype.bf16)
    assert megatron_optimizer.Adam.func is FusedAdam
    use_fused_adam()
    assert megatron_optimizer.Adam is theirs
