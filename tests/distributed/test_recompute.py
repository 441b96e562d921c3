"""Computing activations again changes no gradient."""

from typing import Any

import pytest
import torch

from megatron_redone.batches.micro_batch import MicroBatch
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, gradients, packed_row

pytestmark = pytest.mark.distributed

MODES: dict[str, dict[str, Any]] = {
    "selective_mlp": {"recompute": "selective"},
    "selective_all": {"recompute": "selective", "recompute_modules": ["core_attn", "mlp"]},
    "full": {"recompute": "full"},
    "full_one_layer": {"recompute": "full", "recompute_num_layers": 1},
}


def rows() -> list[MicroBatch]:
    return [packed_row([20, 12], 500, seed=seed) for seed in range(4)]


@pytest.mark.parametrize(
    ("world_size", "parallel"),
    [(1, {}), (2, {"pipeline_model_parallel_size": 2}), (2, {"context_parallel_size": 2})],
    ids=["one", "pp2", "cp2"],
)
def test_gradients_do_not_change(world_size: int, parallel: dict[str, Any]) -> None:
    layout = {**parallel, "use_distributed_optimizer": False}
    kept = run_on_ranks(world_size, gradients, Run(model="qwen3", parallel=layout), rows())
    for compute in MODES.values():
        again = run_on_ranks(world_size, gradients, Run(model="qwen3", parallel=layout, compute=compute), rows())
        for (_, expected), (_, found) in zip(kept, again, strict=True):
            for a, b in zip(expected, found, strict=True):
                torch.testing.assert_close(b.gradient, a.gradient, rtol=1e-5, atol=1e-8)


def recomputations(run: Run) -> int:
    """How often a forward pass is run again within one step."""
    from megatron.core.tensor_parallel import random

    calls = 0
    original = random._fork_rng

    def counting() -> Any:
        nonlocal calls
        calls += 1
        return original()

    random._fork_rng = counting
    try:
        gradients(run, rows())
    finally:
        random._fork_rng = original
    return calls


@pytest.mark.parametrize(
    ("mode", "expected"), [("none", 0), ("selective_mlp", 16), ("full", 16), ("full_one_layer", 4)]
)
def test_the_mode_is_in_effect(mode: str, expected: int) -> None:
    run = Run(model="qwen3", compute=MODES.get(mode, {}))
    assert run_on_ranks(1, recomputations, run) == [expected]
