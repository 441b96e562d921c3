"""Main weights and rounded copies are the same, bit for bit, on every layout. The oracle is one process."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from megatron_redone.config.model import Precision
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.models.build import Model
from megatron_redone.models.shards import Shard
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.training.dithering import dither_main_weights
from megatron_redone.training.main_weights import main_weights, optimizer_parts
from megatron_redone.training.optimizer import build_optimizer
from megatron_redone.training.stochastic_copies import round_copies_stochastically
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, start

LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "tp2": (2, {"tensor_model_parallel_size": 2}),
    "pp2": (2, {"pipeline_model_parallel_size": 2}),
    "pp2_vpp2": (2, {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2}),
    "pp2_uneven": (2, {"pipeline_model_parallel_size": 2, "num_layers_in_last_pipeline_stage": 1}),
    "cp2": (2, {"context_parallel_size": 2}),
    "dp2": (2, {}),
    "dp2_plain": (2, {"use_distributed_optimizer": False}),
    "tp2_plain": (2, {"tensor_model_parallel_size": 2, "use_distributed_optimizer": False}),
    "dp4": (4, {}),
    "tp2_dp2_sp": (4, {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    "tp2_pp2": (4, {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}),
    "pp2_dp2": (4, {"pipeline_model_parallel_size": 2}),
    "tp4": (4, {"tensor_model_parallel_size": 4}),
}
MODELS = {  # a width that no draw of four columns divides, and a vocabulary that every layout pads differently
    "tied": Run(model="qwen2_tied", changes={"hidden_size": 56, "num_key_value_heads": 4}),
    "untied": Run(model="qwen3", changes={"tie_word_embeddings": False, "num_key_value_heads": 4}),
}

pytestmark = pytest.mark.distributed


@dataclass(frozen=True)
class Held:
    """What a rank's optimizer holds of one weight; what of the full one that is, `take` says."""

    shard: Shard
    first: int
    main: torch.Tensor
    copy: torch.Tensor
    rounded: torch.Tensor

    def part_of(self, full: torch.Tensor) -> torch.Tensor:
        """The same elements of a full weight, with zeros where padding is."""
        local = self.shard.take(full).flatten()
        padded = torch.cat([local, local.new_zeros(self.shard.parameter.numel() - len(local))])
        return padded[self.first : self.first + len(self.main)]


def held(run: Run, parallel: dict[str, Any]) -> list[Held]:
    """What this rank holds after dithering, and its copies after a step of nothing but rounding."""
    model, optimizer = _start(run, parallel)
    dither_main_weights(model, optimizer, seed=7)
    weights = [weight for part in optimizer_parts(optimizer) for weight in main_weights(part, model)]
    assert all(torch.equal(weight.main.bfloat16(), weight.copy) for weight in weights)
    assert {weight.copy.data_ptr() for weight in weights} == _memory(weights)
    before = [weight.copy.clone() for weight in weights]
    round_copies_stochastically(model, optimizer, seed=7)
    for part in optimizer_parts(optimizer):
        part.optimizer.param_groups[0]["step"] = 3
        part._copy_main_params_to_model_params()
    return [Held(w.shard, w.first, w.main, copy, w.copy) for w, copy in zip(weights, before, strict=True)]


def _start(run: Run, parallel: dict[str, Any]) -> tuple[Model, Any]:
    changed = Run(model=run.model, parallel=parallel, compute={"precision": Precision.bf16}, changes=run.changes)
    model = start(changed)
    return model, build_optimizer(wrap_data_parallel(model), OptimizerConfig())


def _memory(weights: list[Any]) -> set[int]:
    """Where the model's weights lie from the first element that the optimizer holds."""
    return {weight.shard.parameter.view(-1)[weight.first :].data_ptr() for weight in weights}


@pytest.fixture(scope="module", params=MODELS)
def run_and_whole(request: pytest.FixtureRequest) -> tuple[Run, dict[str, Held]]:
    run = MODELS[request.param]
    [alone] = run_on_ranks(1, held, run, {})
    return run, {one.shard.name: one for one in alone}


def _full(one: Held, flat: torch.Tensor) -> torch.Tensor:
    """A whole weight in its own shape, without padding."""
    return flat.view(-1, *one.shard.full_shape[1:])[: one.shard.full_shape[0]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_main_weights_are_those_of_one_process(run_and_whole: tuple[Run, dict[str, Held]], layout: str) -> None:
    run, whole = run_and_whole
    world_size, parallel = LAYOUTS[layout]
    seen = dict.fromkeys(whole, 0)
    for rank in run_on_ranks(world_size, held, run, parallel):
        for mine in rank:
            one = whole[mine.shard.name]
            for kind in ("main", "copy", "rounded"):
                expected = mine.part_of(_full(one, getattr(one, kind)))
                assert torch.equal(getattr(mine, kind), expected), (mine.shard.name, kind)
            seen[mine.shard.name] += len(mine.main)
    assert all(seen[name] >= _full(one, one.main).numel() for name, one in whole.items())


def test_nearly_all_is_moved_and_some_of_it_rounded_away(run_and_whole: tuple[Run, dict[str, Held]]) -> None:
    _, whole = run_and_whole
    for name, one in whole.items():
        moved = (one.main != one.copy.float()) == (one.copy != 0)
        assert moved.all(), name
        changed = (one.rounded != one.copy)[one.copy != 0].double().mean()
        assert abs(changed - 0.25) < 2 / one.main.numel() ** 0.5, name
