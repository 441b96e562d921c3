"""Whose kernel adds gradients up. Transformer Engine's is here a function of its parameters, 2.11's and 2.9's."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from megatron.core.tensor_parallel import layers

from megatron_redone.models import weight_gradients
from megatron_redone.models.weight_gradients import EngineAccumulation, provide_weight_gradients

CUDA = torch.device("cuda")


# fmt: off
def of_2_11(A, B, out_dtype=None, quantization_params=None, gelu=False, gelu_in=None, alpha=1.0, beta=None,
            accumulate=False, layout="TN", out=None, bias=None, use_split_accumulator=False, grad=False, ub=None,
            ub_type=None, extra_output=None, bulk_overlap=False):
    assert layout == "NT" and accumulate and grad and out_dtype is out.dtype is torch.float32
    out += B.t().float() @ A.float()  # matrices lie column by column: op(B) times op(A)


def of_2_9(A, B, workspace, out_dtype=None, quantization_params=None, gelu=False, gelu_in=None, alpha=1.0, beta=None,
           accumulate=False, layout="TN", out=None, bias=None, use_split_accumulator=False, grad=False, ub=None,
           ub_type=None, extra_output=None, bulk_overlap=False):
    assert workspace == "a workspace"
    of_2_11(A, B, out_dtype, accumulate=accumulate, layout=layout, out=out, grad=grad)
# fmt: on


@pytest.fixture(params=[of_2_11, of_2_9])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    modules = {
        "cpp_extensions": SimpleNamespace(general_gemm=request.param),
        "module.base": SimpleNamespace(get_workspace=lambda: "a workspace"),
    }
    for name in ("transformer_engine", "transformer_engine.pytorch", "transformer_engine.pytorch.module"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__path__=[]))
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"transformer_engine.pytorch.{name}", module)
    return request.param


def test_gradients_are_added_to_what_is_there(engine: Callable[..., Any]) -> None:
    generator = torch.Generator().manual_seed(1)
    for dtype in (torch.bfloat16, torch.float32):
        inputs, grads = (torch.randn(12, size, generator=generator).to(dtype) for size in (6, 4))
        main_grad = torch.ones(4, 6)
        EngineAccumulation().wgrad_gemm_accum_fp32(inputs, grads, main_grad)
        torch.testing.assert_close(main_grad, 1 + grads.float().t() @ inputs.float())


@pytest.mark.parametrize(
    ("has_apex", "has_engine", "said"),
    [(True, True, "Apex"), (False, True, "Transformer Engine"), (False, False, "none")],
)
def test_it_is_said_which_kernel_is_taken(
    monkeypatch: pytest.MonkeyPatch, engine: Any, has_apex: bool, has_engine: bool, said: str
) -> None:
    monkeypatch.setattr(layers, "_grad_accum_fusion_available", has_apex)
    monkeypatch.setattr(layers, "fused_weight_gradient_mlp_cuda", None, raising=False)
    monkeypatch.setattr(weight_gradients.engine, "HAVE_TE", has_engine)
    assert provide_weight_gradients(CUDA) == said
    assert layers._grad_accum_fusion_available == (said != "none")
    assert provide_weight_gradients(CUDA) == said, "the second model of a process"


def test_a_cpu_has_its_own() -> None:
    assert provide_weight_gradients(torch.device("cpu")) == "BLAS"
