"""The benchmark for CUDA devices, rehearsed: every part runs, with tiny shapes on a CPU."""

import json
import sys
from pathlib import Path

import pytest

from tests.helpers import commands
from tools.benchmarks import gpu, gpu_first_minutes, gpu_jobs

ROOT = Path(__file__).parents[2]


def test_rehearsal_runs_every_part() -> None:
    parts = ",".join(part for part in gpu.SECONDS if part != "first_minutes")
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/benchmarks/gpu.py"), "--rehearse", "--parts", parts]
    done = commands.to_its_end(command, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["problems"] == []
    metrics = found["metrics"]
    assert metrics["parity_rel_diff"] < 0.005
    for recipe in ("delayed", "tensorwise", "blockwise"):
        assert 0 < metrics[f"fp8_loss_rel_diff_{recipe}"] < 0.015
    assert metrics["ratio_vs_transformers_tiny"] > 0
    assert metrics["whole_seconds_bf16_tiny-tp2"] > 0 and metrics["seconds_per_micro_batch_torch-bf16_tiny"] > 0
    for name in ("tokens_per_second_sft_torch_tiny", "tokens_per_second_dpo_torch_tiny"):
        assert metrics[name] > 0
    assert len(found["kernels"]) == 10 and 0 <= metrics["idle_share_tiny"] < 1


@pytest.mark.parametrize("name", ["imports", "layer_bf16", "resume_delayed"])
def test_checks_of_the_first_minutes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = gpu_first_minutes.checks("cpu")[name](240)
    assert found.get("rel_error", 0.0) < 0.01 and found.get("resume_diff", 0.0) == 0.0


def test_a_check_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(gpu_first_minutes.CheckFailed, match=r"exit code 1: ModuleNotFoundError: .*transformer_engine"):
        gpu_first_minutes.checks("cuda")["layer_bf16"](60)
    with pytest.raises(gpu_first_minutes.CheckFailed, match="not done after 0 s"):
        gpu_first_minutes.checks("cpu")["imports"](0.01)


def test_a_line_through_two_depths_gives_the_whole() -> None:
    keys = {"shape": "7b", "rows": 1, "length": 4096}
    found = gpu_jobs.whole_model(keys, {8: 0.1 + 8 * 0.03, 4: 0.1 + 4 * 0.03})
    assert found["whole_seconds"] == pytest.approx(0.1 + 28 * 0.03)
    assert found["whole_seconds_a_layer"] == pytest.approx(0.03)
    # 44.9 GFLOP a token, as counted elsewhere (Megatron-Bridge's way, half of the attention)
    assert found["whole_tflops"] == pytest.approx(44.9e9 * 4096 / 0.94 / 1e12, rel=0.02)


def test_the_device_is_idle_where_no_kernel_runs() -> None:
    """Kernels of several streams overlap; what comes before the first and after the last does not count."""
    assert gpu_jobs.idle_share([(10, 20), (12, 15), (18, 30), (40, 50)]) == pytest.approx(10 / 40)
    assert gpu_jobs.idle_share([(5, 6)]) == 0.0
    spans = [(0.0, 3.0, "a"), (3.0, 4.0, "b"), (9.0, 13.0, "a")]
    assert gpu_jobs.costliest(spans) == [{"name": "a", "share": 7 / 8}, {"name": "b", "share": 1 / 8}]


def test_what_does_not_fit_is_known_before_it_is_built() -> None:
    """Copies in FP8 count, and the whole 7 B fits no card."""
    keys = {"device": "cuda", "rows": 1, "length": 4096, **gpu.ENGINE}
    assert gpu_jobs.needed_memory({**keys, "shape": "7b"}) > 141e9
    cut = {**keys, "shape": "7b", "layers": 8}
    fp8 = {**cut, "precision": "fp8", "recipe": "tensorwise"}
    assert 38e9 < gpu_jobs.needed_memory(cut) < 80e9
    matrices = 8 * 233e6  # of a layer: 3 x 3,584 x 18,944, and 3,584 x (3,584 + 1,024 + 3,584)
    assert gpu_jobs.needed_memory(fp8) - gpu_jobs.needed_memory(cut) == pytest.approx(2 * matrices, rel=0.01)
    smaller = {**cut, "optimizer": {"moments_dtype": "bf16"}}
    assert gpu_jobs.needed_memory(cut) - gpu_jobs.needed_memory(smaller) == pytest.approx(4 * 2.95e9, rel=0.02)


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
