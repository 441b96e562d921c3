"""How chunks are wrapped on each device; tests/distributed trains with what is wrapped."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.models import wrapping


class Wrapped:
    """Stands for megatron-core's wrapper and keeps what it is given."""

    def __init__(self, config: Any, ddp_config: Any, module: Any, disable_bucketing: bool) -> None:
        self.ddp_config, self.module, self.disable_bucketing = ddp_config, module, disable_bucketing

    def no_sync(self) -> None:
        """Told apart by its owner."""


def wrap(
    monkeypatch: pytest.MonkeyPatch, device: str, chunks: int = 1, data: int = 2, graphs: str = "none", **parallel: Any
) -> tuple[list[Any], SimpleNamespace]:
    monkeypatch.setattr(wrapping, "DistributedDataParallel", Wrapped)
    config = SimpleNamespace(fp8_param=False, no_sync_func=None, cuda_graph_impl=graphs)
    context = SimpleNamespace(config=ParallelConfig(**parallel), device=torch.device(device), data_size=data)
    model: Any = SimpleNamespace(context=context, config=config, chunks=list(range(chunks)))
    return wrapping.wrap_data_parallel(model), config


@pytest.mark.parametrize(
    ("device", "asked", "overlaps"),
    [("cpu", None, False), ("cuda", None, True), ("cuda", False, False), ("cpu", True, True)],
)
def test_gradients_are_reduced_meanwhile_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, device: str, asked: bool | None, overlaps: bool
) -> None:
    [wrapped], config = wrap(monkeypatch, device, overlap_grad_reduce=asked)
    assert wrapped.ddp_config.overlap_grad_reduce == overlaps and wrapped.ddp_config.grad_reduce_in_fp32
    assert config.no_sync_func == (wrapped.no_sync if overlaps else None)
    assert config.finalize_model_grads_func is wrapping.finalize_model_grads


def test_of_several_chunks_the_first_alone_has_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped, config = wrap(monkeypatch, "cuda", chunks=3)
    assert [one.module for one in wrapped] == [0, 1, 2]
    assert [one.disable_bucketing for one in wrapped] == [False, True, True]
    assert config.no_sync_func == [one.no_sync for one in wrapped]


def test_weights_are_not_gathered_meanwhile_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="overlap_param_gather: needs a CUDA device; leave it false"):
        wrap(monkeypatch, "cpu", overlap_param_gather=True)
    [wrapped], _ = wrap(monkeypatch, "cuda", overlap_param_gather=True)
    assert wrapped.ddp_config.overlap_param_gather and wrapped.ddp_config.use_distributed_optimizer


@pytest.mark.parametrize(
    ("device", "keys", "overlaps"),
    [
        ("cuda", {}, True),
        ("cpu", {}, False),
        ("cuda", {"data": 1}, False),
        ("cuda", {"data": 1, "context_parallel_size": 2}, True),
        ("cuda", {"use_distributed_optimizer": False}, False),
        ("cuda", {"overlap_grad_reduce": False}, False),
        ("cuda", {"overlap_param_gather": False}, False),
        ("cuda", {"graphs": "local"}, False),
    ],
)
def test_weights_are_gathered_meanwhile_where_it_is_safe(
    monkeypatch: pytest.MonkeyPatch, device: str, keys: dict[str, Any], overlaps: bool
) -> None:
    [wrapped], _ = wrap(monkeypatch, device, **keys)
    assert wrapped.ddp_config.overlap_param_gather == overlaps
