"""Every layout, family and precision over Transformer Engine's own classes, beside the torch backend's model.

They are made without a device, where the package is installed; `bash tests/transformer_engine.sh` makes an environment.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TP_SP = {"tensor_model_parallel_size": 2, "sequence_parallel": True}
LAYOUTS: dict[str, dict[str, Any]] = {
    "one": {},
    "tensor": TP_SP,
    "tensor_alone": {"tensor_model_parallel_size": 2},
    "pipeline": {"pipeline_model_parallel_size": 2},
    "interleaved": {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2},
    "context": {"context_parallel_size": 2},
    "context_heads": {"context_parallel_size": 2, "context_parallel_exchange": "heads"},
    "all": {**TP_SP, "pipeline_model_parallel_size": 2, "context_parallel_size": 2},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "qwen3": {"model_type": "qwen3", "head_dim": 128, "tie_word_embeddings": False},
    "llama": {"model_type": "llama", "tie_word_embeddings": False},
}
FP8 = {"precision": "fp8"}
PRECISIONS: dict[str, tuple[dict[str, Any], str | None]] = {
    "bf16": ({}, None),
    "delayed": ({**FP8, "fp8.recipe": "delayed"}, "TEDelayedScaling"),
    "tensorwise": ({**FP8, "fp8.first_layers_bf16": 1, "fp8.last_layers_bf16": 1}, "Float8CurrentScaling"),
    "blockwise": ({**FP8, "fp8.recipe": "blockwise"}, "Float8BlockScaling"),
    "param_gather": ({**FP8, "fp8.fp8_param_gather": True}, "Float8CurrentScaling"),
}
CASES = list(itertools.product(LAYOUTS, FAMILIES, PRECISIONS))


@pytest.fixture(scope="module")
def built() -> dict[tuple[str, ...], dict[str, Any]]:
    wanted = [
        {"parallel": LAYOUTS[layout], "shape": FAMILIES[family], "model": PRECISIONS[precision][0]}
        for layout, family, precision in CASES
    ]
    command = [sys.executable, "-W", "ignore", "-m", "tests.helpers.real_engine", json.dumps(wanted)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return dict(zip(CASES, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_it_holds_what_the_torch_backend_holds(
    built: dict[tuple[str, ...], dict[str, Any]], case: tuple[str, str, str]
) -> None:
    """The same parts of the same full tensors; weights go over and come back bit for bit, or as FP8 rounds them."""
    found, (_, recipe) = built[case], PRECISIONS[case[2]]
    assert found["missing"] == [] and found["same_places"] and found["same_shapes"] and found["bit_equal"]
    assert "transformer_engine" in found["packages"] and found["recipe"] == recipe
    layers = 2 if "pipeline_model_parallel_size" in LAYOUTS[case[0]] else 4
    assert found["weights_in_fp8"] == (4 * layers if case[2] == "param_gather" else 0)
    assert found["objects"] >= layers, "scales of FP8, of which each module keeps its own"
