"""Both backends on a CUDA device: equal losses, recipes near bf16, packed rows; one process each."""

import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.devices import environment_with_devices

ROOT = Path(__file__).parents[2]
needs_engine = pytest.mark.skipif(
    importlib.util.find_spec("transformer_engine") is None, reason="Transformer Engine is not installed"
)
TRAIN = {"kind": "train", "device": "cuda", "shape": "0.5b", "layers": 4, "data": None, "rows": 4, "length": 512}


def job(**keys: Any) -> dict[str, Any]:
    """What a measurement of the benchmark gives, from a process of its own."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/benchmarks/gpu.py"), "--jobs", json.dumps([keys])]
    figures = json.loads(output_of(command).splitlines()[-1])
    if "does not run on this machine" in figures.get("problem", ""):
        pytest.skip(figures["problem"])
    assert "problem" not in figures, figures
    return figures


def output_of(command: list[str]) -> str:
    """What a process that sees the devices prints."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment_with_devices())
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def plain() -> list[float]:
    return job(**TRAIN, backend="torch", precision="bf16", steps=20)["losses"]


def test_the_device_follows_the_cpu() -> None:
    keys = {**TRAIN, "shape": "tiny", "layers": 2, "length": 64, "backend": "torch", "precision": "fp32", "steps": 5}
    assert job(**keys)["losses"] == pytest.approx(job(**{**keys, "device": "cpu"})["losses"], rel=1e-3)


@needs_engine
def test_backends_agree(plain: list[float]) -> None:
    other = job(**TRAIN, backend="transformer_engine", precision="bf16", steps=20)["losses"]
    assert other == pytest.approx(plain, rel=5e-3)
    assert other != plain


@needs_engine
@pytest.mark.parametrize("recipe", ["delayed", "tensorwise", "blockwise", "mxfp8"])
def test_recipes_follow_bf16(plain: list[float], recipe: str) -> None:
    keys = {**TRAIN, "recipe": recipe, "steps": 20}
    exact = job(**keys, backend="transformer_engine", precision="fp8")["losses"]
    assert exact == pytest.approx(plain, rel=1.5e-2)
    if recipe != "mxfp8":
        emulated = job(**keys, backend="torch", precision="fp8_emulated")["losses"]
        assert emulated == pytest.approx(exact, rel=1e-2)


@needs_engine
@pytest.mark.parametrize(
    "switch",
    [
        {"model": {"cross_entropy_fusion_impl": "native"}},
        {"model": {"cross_entropy_fusion_impl": "te"}},
        {"model": {"recompute": "selective", "recompute_modules": "[core_attn,mlp]"}},
        {"model": {"recompute": "full"}},
        {"model": {"cuda_graph_impl": "local"}},
        {"optimizer": {"optimizer_offload_fraction": 1.0}},
    ],
    ids=lambda switch: "-".join(str(value) for value in next(iter(switch.values())).values()),
)
def test_switches_change_nothing_but_the_way(switch: dict[str, Any]) -> None:
    keys = {**TRAIN, "backend": "transformer_engine", "precision": "bf16", "steps": 20}
    assert job(**keys, **switch)["losses"] == pytest.approx(job(**keys)["losses"], rel=5e-3)


@needs_engine
def test_weights_held_in_fp8(plain: list[float]) -> None:
    keys = {**TRAIN, "backend": "transformer_engine", "precision": "fp8", "recipe": "tensorwise", "steps": 20}
    assert job(**keys, fp8={"fp8_param_gather": True})["losses"] == pytest.approx(plain, rel=1.5e-2)


@pytest.mark.parametrize("task", ["sft", "dpo"])
@pytest.mark.parametrize("backend", ["torch", pytest.param("transformer_engine", marks=needs_engine)])
def test_packed_rows_run(task: str, backend: str) -> None:
    keys = {"kind": "speed", "device": "cuda", "shape": "tiny", "rows": 1, "length": 512, "steps": 2}
    assert job(**keys, task=task, backend=backend, precision="bf16")["tokens_per_second"] > 0


_GRADIENTS = """
import torch
from megatron_redone.models.weight_gradients import EngineAccumulation
inputs, grads = (torch.randn(256, size, device="cuda", dtype=torch.bfloat16) for size in (128, 64))
main_grad = torch.ones(64, 128, device="cuda")
EngineAccumulation().wgrad_gemm_accum_fp32(inputs, grads, main_grad)
exact = 1 + grads.float().t() @ inputs.float()
print(float((main_grad - exact).norm() / exact.norm()))
"""
_MASKED = """
import torch
from types import SimpleNamespace
from megatron_redone.models.torch_attention import TorchCoreAttention
attention = TorchCoreAttention(SimpleNamespace(context_parallel_size=1), SimpleNamespace(cp=None))
query, key, value = (torch.randn(8192, 1, n, 128, device="cuda", dtype=torch.bfloat16) for n in (28, 4, 4))
allowed = torch.ones(8192, 8192, dtype=torch.bool, device="cuda").tril()
torch.cuda.reset_peak_memory_stats()
attention._attend(query, key, value, allowed)
print(torch.cuda.max_memory_allocated() / 1e9)
"""


@needs_engine
def test_weight_gradients_are_added_within_the_product() -> None:
    assert float(output_of([sys.executable, "-W", "ignore", "-c", _GRADIENTS])) < 1e-5


def test_masked_attention_writes_no_scores_out() -> None:
    """28 heads of 8,192 squared scores would take 3.8 GB in bf16."""
    assert float(output_of([sys.executable, "-W", "ignore", "-c", _MASKED])) < 1.5


@needs_engine
def test_stand_ins_have_the_real_parameters() -> None:
    """What stands for Transformer Engine elsewhere takes what the installed one takes."""
    import transformer_engine.pytorch as real  # type: ignore[import-not-found]

    from tests.helpers import te_stand_ins

    for name in ("Linear", "LayerNormLinear", "DotProductAttention"):
        ours = inspect.signature(inspect.unwrap(getattr(te_stand_ins, name).__init__)).parameters
        theirs = inspect.signature(getattr(real, name).__init__).parameters
        assert set(ours) <= set(theirs), f"{name}: {sorted(set(ours) - set(theirs))}"
    for name in ("fp8_autocast", "fp8_model_init"):
        ours = inspect.signature(inspect.unwrap(getattr(te_stand_ins, name))).parameters
        assert set(ours) <= set(inspect.signature(getattr(real, name)).parameters)
