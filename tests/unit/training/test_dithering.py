"""Statistics of small steps: how many bf16 weights a step changes, and by how much on the mean.

The expectation is computed from the steps of an undithered twin: a main weight at a random place within the interval of
its bf16 weight crosses the border with a probability of step / spacing.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.models.shards import Shard
from megatron_redone.training import dithering, stochastic_copies
from megatron_redone.training.fused_adam import FusedAdam
from megatron_redone.training.main_weights import MainWeight

SHAPE = (576, 512)
STEPS, RATE = 20, 1e-6


def layer() -> torch.Tensor:
    """bf16: a matrix whose weights are 0.016 to 0.064 in size, many of them powers of two, below a norm's ones."""
    generator = torch.Generator().manual_seed(3)
    weights = 0.016 * 4 ** torch.rand(SHAPE, generator=generator) * torch.randn(SHAPE, generator=generator).sign()
    weights[:64] = 1.0
    weights[64:128] = 2.0**-5
    return weights.bfloat16()


def held(copy: torch.Tensor, main: torch.Tensor) -> MainWeight:
    shard = Shard(name="w", parameter=torch.nn.Parameter(copy), full_shape=SHAPE, dim=None, ranges=())
    return MainWeight(shard=shard, first=0, main=main.view(-1), copy=copy.view(-1))


def train(main: torch.Tensor) -> None:
    """Steps of one sign for each weight, of a size of its own: as far as Adam goes in each."""
    generator = torch.Generator().manual_seed(4)
    gradient = torch.randn(SHAPE, generator=generator)
    optimizer = FusedAdam([main], lr=RATE)
    for _ in range(STEPS):
        main.grad = gradient * torch.rand(SHAPE, generator=generator)
        optimizer.step()


def spacing(copy: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """The distance from a bf16 weight to its neighbour in the direction of a change."""
    outwards = torch.where(change * copy > 0, 1, -1).to(torch.int16)
    neighbour = (copy.view(torch.int16) + outwards).view(torch.bfloat16)
    return (neighbour.double() - copy.double()).abs()


def check(copy: torch.Tensor, after: torch.Tensor, change: torch.Tensor) -> None:
    """Share and mean are the expected ones, within four standard errors, over each of the three kinds of weights."""
    for part in (slice(0, 64), slice(64, 128), slice(128, None)):
        step, distance = change[part].double(), spacing(copy[part], change[part])
        chance = step.abs() / distance
        assert chance.max() < 1
        variance = chance * (1 - chance)
        moved = after[part].double() - copy[part].double()
        assert abs((moved != 0).double().mean() - chance.mean()) < 4 * variance.sum().sqrt() / step.numel()
        assert abs(moved.mean() - step.mean()) < 4 * (variance * distance**2).sum().sqrt() / step.numel()


@pytest.fixture
def change() -> torch.Tensor:
    """What the steps add to main weights, as fp64 sees it."""
    main = layer().float()
    train(main)
    return main.double() - layer().double()


def test_dithered_weights_move_as_their_main_weights(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: torch.Tensor
) -> None:
    copy, main = layer(), layer().float()
    monkeypatch.setattr(dithering, "main_weights", lambda *_: [held(copy, main)])
    with caplog.at_level("INFO"):
        dithering.dither_main_weights(Any, SimpleNamespace(), seed=1)  # type: ignore[arg-type]
    assert f"{main.numel():,} begin at random places" in caplog.text
    assert torch.equal(main.bfloat16(), copy)
    train(main)
    check(copy, main.bfloat16(), change)


def test_stochastic_copies_move_as_their_main_weights(monkeypatch: pytest.MonkeyPatch, change: torch.Tensor) -> None:
    copy, main = layer(), layer().float()
    monkeypatch.setattr(stochastic_copies, "main_weights", lambda *_: [held(copy, main)])
    part: Any = SimpleNamespace(optimizer=SimpleNamespace(param_groups=[{"step": STEPS}, {}]))
    stochastic_copies.round_copies_stochastically(Any, part, seed=1)  # type: ignore[arg-type]
    train(main)
    part._copy_main_params_to_model_params()
    check(layer(), copy, change)
    before = copy.clone()
    part._copy_main_params_to_model_params()
    assert torch.equal(copy, before), "the same step rounds alike, as after resuming"
    part.optimizer.param_groups[0]["step"] += 1
    part._copy_main_params_to_model_params()
    assert not torch.equal(copy, before)


def test_undithered_weights_do_not_move(change: torch.Tensor) -> None:
    main = layer().float()
    train(main)
    assert torch.equal(main.bfloat16()[128:], layer()[128:]) and torch.equal(main.bfloat16()[:64], layer()[:64])
    assert change.abs().mean() > 0.5 * STEPS * RATE
