"""Keys that contradict each other are refused before anything starts."""

from typing import Any

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.model import ModelConfig
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError


@pytest.mark.parametrize(
    ("schema", "overrides", "message"),
    [
        (ParallelConfig, ["tensor_model_parallel_size=0"], "is less than 1"),
        (ParallelConfig, ["sequence_parallel=true"], "needs tensor_model_parallel_size of 2"),
        (ParallelConfig, ["virtual_pipeline_model_parallel_size=2"], "needs pipeline_model_parallel_size of 2"),
        (OptimizerConfig, ["min_lr=1"], "is more than lr"),
        (OptimizerConfig, ["warmup_steps=3", "warmup_ratio=0.1"], "leave one of them out"),
        (OptimizerConfig, ["schedule=cosin"], "expected cosine|linear|constant|wsd"),
        (ModelConfig, ["hf_config=x", "recompute=selective", "recompute_modules=[mpl]"], "'mpl' is not one of"),
        (ModelConfig, ["hf_config=x", "recompute_num_layers=2"], "counts for recompute=full only"),
    ],
)
def test_contradictions_are_refused(schema: type[Any], overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(schema, None, overrides)


def test_sizes() -> None:
    overrides = ["tensor_model_parallel_size=2", "pipeline_model_parallel_size=4", "context_parallel_size=2"]
    config = load_config(ParallelConfig, None, [*overrides, "virtual_pipeline_model_parallel_size=3"])
    assert config.model_parallel_size == 16 and config.pipeline_chunks == 12
