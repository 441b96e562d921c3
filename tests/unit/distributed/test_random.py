"""A seed gives the same numbers each time, and another stage of the pipeline others."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from megatron_redone.distributed import random as module
from megatron_redone.distributed.random import seed_all


@pytest.fixture(autouse=True)
def trackers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that megatron-core is given; the generators of the other tests are put back."""
    seeds: list[int] = []
    monkeypatch.setattr(module.tensor_parallel, "model_parallel_cuda_manual_seed", lambda seed, **_: seeds.append(seed))
    return seeds


def draw(seed: int, stage: int) -> list[float]:
    states: Any = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_all(seed, stage)
    drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    return drawn


@pytest.mark.parametrize("seed", [0, 1234, 2**32 + 5])
def test_all_generators_follow_the_seed_and_the_stage(seed: int, trackers: list[int]) -> None:
    first = draw(seed, 0)
    assert draw(seed, 0) == first
    for other in (draw(seed, 1), draw(seed + 1, 0)):
        assert all(a != b for a, b in zip(first, other, strict=True))
    assert len(trackers) == 4 and trackers[0] == trackers[1] and len(set(trackers)) == 3
