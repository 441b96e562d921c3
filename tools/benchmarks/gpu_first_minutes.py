"""The checklist of a card that nothing has run on yet; see gpu.py, whose part `first_minutes` it is.

Each check is a process of its own, so that none can spoil the next. Two ranks on one GPU are not among them: NCCL
refuses that (`Duplicate GPU detected`).
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Check = Callable[[float], dict[str, Any]]
"""Takes the seconds that are left and gives what it found.

Raises:
    CheckFailed: with the reason.
"""

_CUDNN = 90600  # from 9.6 on packed rows need no kernel of their own for each batch (Transformer Engine 2.11)
_SAME = 1e-3  # relative: attention's gradients are added up in another order each time
_MODEL = {
    **{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 128, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 256, "vocab_size": 512},
    **{"max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True},
    "hidden_act": "silu",
}
_KEYS = [
    *("data.seq_length=128", "training.global_batch_size=4", "training.micro_batch_size=2", "optimizer.lr=1e-3"),
    *("optimizer.schedule=constant", "checkpoint.save_every=2", "checkpoint.keep_last=null"),
]
# Recipes whose state a checkpoint must hold, and how a CPU rehearses them.
_RUNS = {
    "bf16": (["model.precision=bf16"], ["model.precision=bf16"]),
    "delayed": (
        ["model.precision=fp8", "model.fp8.recipe=delayed"],
        ["model.precision=fp8_emulated", "model.fp8.recipe=delayed"],
    ),
    "fp8_param_gather": (
        ["model.precision=fp8", "model.fp8.fp8_param_gather=true"],
        ["model.precision=fp8_emulated", "model.fp8.recipe=tensorwise"],
    ),
}
_VERSIONS = """
import importlib.metadata, json, sys, torch
found = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
for name in ("megatron-core", "transformer-engine", "transformer_engine_torch", "flash-attn", "apex"):
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
if sys.argv[1] == "cuda":
    import transformer_engine.pytorch
    from megatron.core.extensions.transformer_engine import HAVE_TE
    found["name"], found["usable"] = torch.cuda.get_device_name(), HAVE_TE
print(json.dumps(found))
"""
_LAYER = """
import contextlib, json, sys, torch
device, fp8 = sys.argv[1], sys.argv[2] == "fp8"
if device == "cuda":
    import transformer_engine.pytorch as te
    from transformer_engine.common.recipe import Float8CurrentScaling
    layer = te.Linear(256, 256, params_dtype=torch.bfloat16, device="cuda")
    scope = te.fp8_autocast(enabled=fp8, fp8_recipe=Float8CurrentScaling())
else:
    layer, scope = torch.nn.Linear(256, 256, dtype=torch.bfloat16), contextlib.nullcontext()
torch.manual_seed(0)
inputs = torch.randn(64, 256, dtype=torch.bfloat16, device=device, requires_grad=True)
with scope:
    output = layer(inputs)
output.float().square().sum().backward()
exact = inputs.detach().float() @ layer.weight.detach().float().t() + layer.bias.detach().float()
error = float((output.detach().float() - exact).norm() / exact.norm())
assert layer.weight.grad is not None and torch.isfinite(layer.weight.grad).all()
print(json.dumps({"rel_error": error}))
"""


class CheckFailed(Exception):
    """What was found instead."""


def checks(device: str) -> dict[str, Check]:
    """All of them, in order, by name; for `cuda`, or `cpu` in a rehearsal."""
    return {
        "imports": functools.partial(_imports, device),
        "layer_bf16": functools.partial(_layer, device, "bf16", 0.01),
        "layer_fp8": functools.partial(_layer, device, "fp8", 0.06),
        "attention_of_packed_rows": functools.partial(_attention, device),
        **{f"resume_{name}": functools.partial(_resume, device, name, False) for name in _RUNS},
        "resume_under_torchrun": functools.partial(_resume, device, "bf16", True),
    }


def _imports(device: str, seconds: float) -> dict[str, Any]:
    found = _json([sys.executable, "-W", "ignore", "-c", _VERSIONS, device], seconds)
    if device == "cuda" and not found["usable"]:
        raise CheckFailed("megatron-core cannot use the Transformer Engine that is installed")
    if device == "cuda" and (found["cudnn"] or 0) < _CUDNN:
        raise CheckFailed(
            f"cuDNN {found['cudnn']} is older than 9.6: every packed batch of a new shape is planned anew"
        )
    return found


def _layer(device: str, precision: str, tolerance: float, seconds: float) -> dict[str, Any]:
    found = _json([sys.executable, "-W", "ignore", "-c", _LAYER, device, precision], seconds)
    if not found["rel_error"] < tolerance:
        raise CheckFailed(f"its output is {found['rel_error']:.1%} off the exact product")
    return found


def _attention(device: str, seconds: float) -> dict[str, Any]:
    """Which kernel Transformer Engine chooses for a row of conversations, as it says itself."""
    backend = "transformer_engine" if device == "cuda" else "torch"
    job = {"kind": "speed", "device": device, "shape": "tiny", "rows": 1, "length": 512, "steps": 1, "task": "sft",
           "backend": backend, "precision": "bf16"}  # fmt: skip
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/benchmarks/gpu.py"), "--jobs", json.dumps([job])]
    done = _run(command, seconds, NVTE_DEBUG="1", NVTE_DEBUG_LEVEL="1")
    figures = json.loads(done.stdout.splitlines()[-1])
    if "problem" in figures:
        raise CheckFailed(figures["problem"])
    if device == "cpu":
        return {"kernel": "torch"}
    chosen = {
        line.split("=")[-1].strip() for line in (done.stdout + done.stderr).splitlines() if "elected backend" in line
    }
    if not chosen:
        raise CheckFailed("Transformer Engine does not say which kernel it took")
    if any("Unfused" in name or "NoBackend" in name for name in chosen):
        raise CheckFailed(f"packed rows go through {', '.join(sorted(chosen))}")
    return {"kernel": ", ".join(sorted(chosen))}


def _resume(device: str, name: str, under_torchrun: bool, seconds: float) -> dict[str, Any]:
    """Four steps at once, and two and two through a checkpoint: the losses are the same."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m"] if under_torchrun else []
    command = [sys.executable, "-W", "ignore", "-m", *launcher, "megatron_redone", "pretrain"]
    precision = _RUNS[name][0 if device == "cuda" else 1]
    with tempfile.TemporaryDirectory(prefix="redone-first-") as folder:
        keys = [*_write_inputs(Path(folder)), f"device={device}", *precision]
        for output, steps in (("whole", 4), ("parts", 2), ("parts", 4)):
            _run([*command, *keys, f"output_dir={folder}/{output}", f"training.train_steps={steps}"], seconds / 3)
        whole, parts = (_losses(Path(folder) / output) for output in ("whole", "parts"))
    if len(whole) != 4 or len(parts) != 4:
        raise CheckFailed(f"{len(whole)} and {len(parts)} steps were reported, not 4")
    difference = max(abs(b / a - 1) for a, b in zip(whole, parts, strict=True))
    if difference > _SAME:
        raise CheckFailed(f"losses after the checkpoint differ by {difference:.1e}: {whole} and {parts}")
    return {"resume_diff": difference}


def _write_inputs(folder: Path) -> list[str]:
    import numpy as np

    from megatron_redone.formats.indexed import IndexedDatasetWriter

    (folder / "config.json").write_text(json.dumps(_MODEL))
    tokens = np.random.default_rng(0).integers(0, _MODEL["vocab_size"], 8192)
    with IndexedDatasetWriter(folder / "data", np.int32) as writer:
        writer.add(tokens, np.array([len(tokens)]))
        writer.finish()
    return [*_KEYS, f"model.hf_config={folder}/config.json", f"data.blend=[{{path: {folder}/data}}]"]


def _losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines) if "loss" in record]


def _json(command: list[str], seconds: float) -> dict[str, Any]:
    return json.loads(_run(command, seconds).stdout.splitlines()[-1])


def _run(command: list[str], seconds: float, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    variables = {**os.environ, "PYTHONPATH": paths, **environment}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=variables, cwd=ROOT)
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"not done after {seconds:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise CheckFailed(f"exit code {done.returncode}: {lines[-1][:300] if lines else 'no word'}")
    return done
