"""The oracle is torch's AdamW."""

import copy

import torch

from megatron_redone.training.fused_adam import FusedAdam


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
