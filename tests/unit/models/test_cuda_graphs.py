"""CUDA graphs are refused, in one line, where they cannot be or would go wrong."""

from types import SimpleNamespace
from typing import Any

import pytest

from megatron_redone.config.model import Backend, CudaGraphs, ModelConfig, Recompute
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.models import engine_version
from megatron_redone.models.cuda_graphs import cuda_graph_keys, refuse_cuda_graphs

ENGINE = Backend.transformer_engine


@pytest.fixture(autouse=True)
def _engine_whose_graphs_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_version, "engine_version", lambda: (0, 16))


def test_graphs_of_another_engine_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_version, "engine_version", lambda: (0, 19))
    with pytest.raises(UserError, match=r"makes graphs in another way than 0\.16"):
        cuda_graph_keys(ModelConfig(cuda_graph_impl=CudaGraphs.local), ParallelConfig(), ENGINE)
    assert cuda_graph_keys(ModelConfig(), ParallelConfig(), ENGINE) == {}


def test_off_unless_asked_for() -> None:
    assert cuda_graph_keys(ModelConfig(), ParallelConfig(pipeline_model_parallel_size=2), Backend.torch) == {}
    refuse_cuda_graphs(SimpleNamespace(cuda_graph_impl="none"))  # type: ignore[arg-type]


def test_on() -> None:
    assert cuda_graph_keys(ModelConfig(cuda_graph_impl=CudaGraphs.local), ParallelConfig(), ENGINE) == {
        "cuda_graph_impl": "local"
    }


@pytest.mark.parametrize(
    ("model", "parallel", "backend", "message"),
    [
        ({}, {}, Backend.torch, "needs backend=transformer_engine"),
        ({}, {"pipeline_model_parallel_size": 2}, ENGINE, "needs pipeline_model_parallel_size of 1"),
        ({"recompute": Recompute.full}, {}, ENGINE, "set recompute=none"),
        ({"recompute": Recompute.selective}, {}, ENGINE, "set recompute=none"),
        ({}, {"overlap_param_gather": True}, ENGINE, "not with parallel.overlap_param_gather"),
    ],
)
def test_where_they_cannot_be(model: dict[str, Any], parallel: dict[str, Any], backend: Backend, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cuda_graph_keys(ModelConfig(cuda_graph_impl=CudaGraphs.local, **model), ParallelConfig(**parallel), backend)


def test_an_allocator_that_needs_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    with pytest.raises(UserError, match="NCCL_GRAPH_REGISTER=0"):
        cuda_graph_keys(ModelConfig(cuda_graph_impl=CudaGraphs.local), ParallelConfig(), ENGINE)
    monkeypatch.setenv("NCCL_GRAPH_REGISTER", "0")
    assert cuda_graph_keys(ModelConfig(cuda_graph_impl=CudaGraphs.local), ParallelConfig(), ENGINE)


def test_packed_rows() -> None:
    with pytest.raises(UserError, match="not packed"):
        refuse_cuda_graphs(SimpleNamespace(cuda_graph_impl="local"))  # type: ignore[arg-type]
