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
TP_SP = {"tensor_model_parallel_size": 2, "sequence_parallel": True}
PIPELINE = {"pipeline_model_parallel_size": 2}
LLAMA = {"model_type": "llama", "tie_word_embeddings": False}
YARN = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}
FP32 = {"model": {"precision": "fp32"}}
Case = tuple[dict[str, Any], float]
ONE_PROCESS: dict[str, Case] = {
    "qwen2": (FP32, 1e-5),
    "qwen3": (FP32 | {"shape": {"model_type": "qwen3", "head_dim": 64}}, 1e-5),
    "llama": (FP32 | {"shape": LLAMA}, 1e-5),
    "yarn": (FP32 | {"shape": YARN}, 1e-5),
    "qwen2_bf16": ({"model": {"precision": "bf16"}}, 0.05),  # a few roundings of 2^-9 each, in another order
}
TWO_PROCESSES: dict[str, Case] = {
    "data": (FP32, 1e-5),
    "tensor": (FP32 | {"parallel": {"tensor_model_parallel_size": 2}}, 1e-5),
    "tensor_sequence": (FP32 | {"parallel": TP_SP, "shape": LLAMA}, 1e-5),
    "pipeline": (FP32 | {"parallel": PIPELINE}, 1e-5),
    "interleaved": (FP32 | {"parallel": PIPELINE | {"virtual_pipeline_model_parallel_size": 2}}, 1e-5),
}
CASES = ONE_PROCESS | TWO_PROCESSES


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    return _run(1, ONE_PROCESS) | _run(2, TWO_PROCESSES)


def _run(processes: int, cases: dict[str, Case]) -> dict[str, dict[str, float]]:
    wanted = json.dumps([case for case, _ in cases.values()])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    found = _lines([*launcher, "-m", "tests.helpers.real_training", wanted])
    return dict(zip(cases, found, strict=True))


def _lines(arguments: list[str]) -> list[dict[str, float]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_the_torch_backend(found: dict[str, dict[str, float]], case: str) -> None:
    tolerance = CASES[case][1]
    assert found[case]["loss"] < tolerance and found[case]["gradients"] < tolerance
    assert found[case]["tensors"] >= 13, "every weight of a rank has a gradient that was compared"


def test_layers_in_fp8_are_those_of_the_emulation() -> None:
    """Under each recipe: rounded alike, scales moved alike, and products of what was rounded; far from bf16."""
    for found in _lines(["-m", "tests.helpers.real_fp8_linear"]):
        assert found["apart"] == 0.0 and found["from_bf16"] > 0.02


def test_main_weights_of_weights_in_fp8_are_dithered() -> None:
    """They begin as what the weights were given, not as FP8 rounds it, and stay within what rounds to that."""
    for found in _lines(["-m", "tests.helpers.real_fp8_weights"]):
        assert found["in_fp8"] == 16 < found["weights"] and found["round_to_given"] == [True, True]
        assert found["moved"] > 0.99 and found["model_stays"]
