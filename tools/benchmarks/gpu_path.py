"""The GPU path as far as it can be tried without a GPU; writes benchmarks/results/gpu_path.json.

    python tools/benchmarks/gpu_path.py --engine ENVIRONMENT --before CHECKOUT

Counts what a reader found and what became of it (gpu_path_items.yaml), builds every layout, family and precision over
Transformer Engine's own classes (the environment of tests/transformer_engine.sh), compares its training with the torch
backend's, and steps of pretraining, SFT and DPO on the CPU with those of an earlier checkout: CPU seconds, in turn.
Without one of the two that part is left out, and what an earlier call has measured of it stays.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = str(ROOT)

from tools.benchmarks.recording import record_part

_FP32 = 1e-5  # cases that are held to it are trained in fp32
_KINDS = ("pretrain", "sft", "dpo")  # of cpu_steps.py
_WARM_UP, _PAIRS = 5, 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, help="an environment with Transformer Engine")
    parser.add_argument("--before", type=Path, help="a checkout to compare a step with")
    parser.add_argument("--notes", default="", help="what the machine was doing besides")
    options = parser.parse_args()
    packages, busy = ["torch", "megatron-core"], options.notes
    record_part("gpu_path", "items", count_items(), packages, f"Nothing was measured on a GPU. {busy}")
    if options.engine is not None:
        how = (
            "Transformer Engine 2.11 with torch 2.11 on Python 3.12, without a device: kernels are references in Python"
        )
        record_part("gpu_path", "engine", engine_figures(options.engine), packages, f"{how}. {busy}")
    if options.before is not None:
        how = f"CPU seconds of a step, new over old: medians of {_PAIRS} pairs of neighbouring steps of two processes"
        record_part("gpu_path", "step", compare_steps(options.before), packages, f"{how}. {busy}")


def count_items() -> dict[str, float]:
    """How many findings there are, and what became of them; every test that is named must be there."""
    items = yaml.safe_load((ROOT / "tools/benchmarks/gpu_path_items.yaml").read_text())
    missing = [item["test"] for item in items if item["state"] == "mended" and not (ROOT / item["test"]).is_file()]
    if missing:
        raise SystemExit(f"no such tests: {', '.join(missing)}")
    states = [item["state"] for item in items]
    return {"items": len(items), **{f"items_{state}": states.count(state) for state in sorted(set(states))}}


def engine_figures(environment: Path) -> dict[str, float]:
    """Specifications that were built and hold what the torch backend holds, and how far training is apart."""
    from tests.transformer_engine import test_specification, test_training

    wanted = [
        {"parallel": test_specification.LAYOUTS[layout], "shape": test_specification.FAMILIES[family],
         "model": test_specification.PRECISIONS[precision][0]}
        for layout, family, precision in test_specification.CASES
    ]  # fmt: skip
    built = _lines(environment, "tests.helpers.real_engine", wanted)
    trained = [
        found
        for processes, cases in ((1, test_training.ONE_PROCESS), (2, test_training.TWO_PROCESSES))
        for found in _lines(
            environment,
            "tests.helpers.real_training",
            [case for case, tolerance in cases.values() if tolerance <= _FP32],
            ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)],
        )
    ]
    in_fp8 = _lines(environment, "tests.helpers.real_fp8_linear")
    return {
        "te_layouts_built": sum(case["bit_equal"] and case["same_places"] for case in built),
        "te_reference_cases": len(trained),
        "te_reference_max_rel_diff": max(max(case["loss"], case["gradients"]) for case in trained),
        "te_fp8_linear_max_rel_diff": max(case["apart"] for case in in_fp8),
    }


def _lines(
    environment: Path, module: str, wanted: list[dict[str, Any]] | None = None, launcher: Sequence[str] = ()
) -> list[dict[str, Any]]:
    arguments = [] if wanted is None else [json.dumps(wanted)]
    command = [str(environment / "bin/python"), "-W", "ignore", *launcher, "-m", module, *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert found if wanted is None else len(found) == len(wanted)
    return found


def compare_steps(before: Path) -> dict[str, float]:
    """CPU seconds of a step over those of the checkout: one of each in turn, so that both meet the same machine."""
    found: dict[str, float] = {}
    with _stepping(ROOT) as new, _stepping(before) as old:
        for kind in _KINDS:
            pairs = [(_step(new, kind), _step(old, kind)) for _ in range(_WARM_UP + _PAIRS)][_WARM_UP:]
            ratios = [a / b for a, b in pairs]
            low, middle, high = statistics.quantiles(ratios, n=4)
            found |= {
                f"cpu_step_vs_before_{kind}": middle,
                f"cpu_step_quartiles_{kind}": high - low,
                # Of a median, by the quartiles of a normal distribution.
                f"cpu_step_standard_error_{kind}": 1.253 * (high - low) / 1.349 / len(ratios) ** 0.5,
            }
    return {"cpu_step_vs_before": max(found[f"cpu_step_vs_before_{kind}"] for kind in _KINDS), **found}


@contextmanager
def _stepping(tree: Path) -> Iterator["subprocess.Popen[str]"]:
    variables = {**os.environ, "PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/benchmarks/cpu_steps.py")]
    process = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _step(process: "subprocess.Popen[str]", kind: str) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{kind}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


if __name__ == "__main__":
    main()
