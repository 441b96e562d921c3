"""The benchmark for CUDA devices, rehearsed: every part runs, with tiny shapes on a CPU."""

import json
import sys
from pathlib import Path

import pytest

from tests.helpers import commands

ROOT = Path(__file__).parents[2]


def test_rehearsal_runs_every_part() -> None:
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/benchmarks/gpu.py"), "--rehearse"]
    done = commands.to_its_end(command, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["problems"] == []
    metrics = found["metrics"]
    assert metrics["parity_rel_diff"] < 0.005
    for recipe in ("delayed", "tensorwise", "blockwise"):
        assert 0 < metrics[f"fp8_loss_rel_diff_{recipe}"] < 0.015
    assert metrics["ratio_vs_transformers_tiny"] > 0
    for name in ("tokens_per_second_sft_torch_tiny", "tokens_per_second_dpo_torch_tiny"):
        assert metrics[name] > 0
    assert len(found["kernels"]) == 10 and 0 <= metrics["idle_share_tiny"] < 1


def test_a_measurement_that_dies_does_not_take_the_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process dies of the second of four, refuses the third in words, and another one makes the fourth."""
    from tools.benchmarks.gpu import Bench, parse_options

    monkeypatch.setattr(sys, "argv", ["gpu.py", "--rehearse"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    bench = Bench(parse_options())
    bench.end += 300
    good = {"kind": "profile", "shape": "tiny", "rows": 1, "steps": 1, "backend": "torch", "precision": "bf16"}
    bad = {"dies": {**good, "shape": "unheard-of"}, "refused": {**good, "backend": "transformer_engine"}}
    found = bench.jobs({"first": good, **bad, "last": good})
    assert set(found) == {"first", "last"}
    died, refused = bench.problems
    assert "KeyError" in died and "needs a CUDA device" in refused
