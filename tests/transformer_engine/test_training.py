"""Transformer Engine's own modules train on a CPU, over reference kernels, as the torch backend does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
CASES: dict[str, tuple[dict[str, Any], str, float]] = {
    "qwen2": ({}, "fp32", 1e-5),
    "qwen3": ({"model_type": "qwen3", "head_dim": 64}, "fp32", 1e-5),
    "llama": ({"model_type": "llama", "tie_word_embeddings": False}, "fp32", 1e-5),
    "qwen2_bf16": ({}, "bf16", 0.05),  # a few roundings of 2^-9 each, in another order
}


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    wanted = [{"shape": shape, "precision": precision} for shape, precision, _ in CASES.values()]
    command = [sys.executable, "-W", "ignore", "-m", "tests.helpers.real_training", json.dumps(wanted)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return dict(zip(CASES, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_the_torch_backend(found: dict[str, dict[str, float]], case: str) -> None:
    tolerance = CASES[case][2]
    assert found[case]["loss"] < tolerance and found[case]["gradients"] < tolerance
    assert found[case]["tensors"] >= 24, "every weight has a gradient that was compared"
