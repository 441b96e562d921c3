"""The same weights and batches give the same training on every layout, in fp32. The oracle is one process."""

import pytest

from megatron_redone.config.parallel import ContextExchange
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, train

LAYOUTS = {
    "tp2": (2, {"tensor_model_parallel_size": 2}),
    "pp2": (2, {"pipeline_model_parallel_size": 2}),
    "pp2_vpp2": (2, {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2}),
    "pp2_uneven": (2, {"pipeline_model_parallel_size": 2, "num_layers_in_last_pipeline_stage": 1}),
    "cp2": (2, {"context_parallel_size": 2}),
    "cp2_heads": (2, {"context_parallel_size": 2, "context_parallel_exchange": ContextExchange.heads}),
    "tp2_sp": (2, {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    "tp2_pp2": (4, {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}),
    "dp2": (2, {}),
    "dp4": (4, {}),
    "dp2_plain_optimizer": (2, {"use_distributed_optimizer": False}),
    "tp2_cp2_sp": (4, {"tensor_model_parallel_size": 2, "context_parallel_size": 2, "sequence_parallel": True}),
}
STEPS = 10

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def one_process() -> dict[str, list[tuple[float, float]]]:
    models = ("qwen2_tied", "qwen2_untied", "qwen3")
    return {model: run_on_ranks(1, train, Run(model=model), STEPS)[0] for model in models}


@pytest.mark.parametrize("model", ["qwen2_tied", "qwen2_untied", "qwen3"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_ten_steps_equal_one_process(
    one_process: dict[str, list[tuple[float, float]]], model: str, layout: str
) -> None:
    world_size, parallel = LAYOUTS[layout]
    for steps in run_on_ranks(world_size, train, Run(model=model, parallel=parallel), STEPS):
        for step, expected in zip(steps, one_process[model], strict=True):
            assert step == pytest.approx(expected, rel=1e-5)


def test_training_learns(one_process: dict[str, list[tuple[float, float]]]) -> None:
    for steps in one_process.values():
        assert steps[0][0] != steps[-1][0] and all(norm > 0 for _, norm in steps)
