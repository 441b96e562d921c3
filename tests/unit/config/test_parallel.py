"""Keys that contradict each other are refused before anything starts."""

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tensor_model_parallel_size=0"], "is less than 1"),
        (["sequence_parallel=true"], "needs tensor_model_parallel_size of 2"),
        (["context_parallel_exchange=heads"], "heads needs context_parallel_size of 2"),
        (["virtual_pipeline_model_parallel_size=2"], "needs pipeline_model_parallel_size of 2"),
    ],
)
def test_contradictions_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(ParallelConfig, None, overrides)


def test_sizes() -> None:
    overrides = ["tensor_model_parallel_size=2", "pipeline_model_parallel_size=4", "context_parallel_size=2"]
    config = load_config(ParallelConfig, None, [*overrides, "virtual_pipeline_model_parallel_size=3"])
    assert config.model_parallel_size == 16 and config.pipeline_chunks == 12


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"overlap_param_gather": True, "use_distributed_optimizer": False}, "use_distributed_optimizer"),
        ({"overlap_param_gather": True, "overlap_grad_reduce": False}, "overlap_grad_reduce"),
        ({"tp_comm_overlap": True}, "sequence_parallel"),
    ],
)
def test_overlap_that_cannot_be(keys: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ParallelConfig(**keys)
