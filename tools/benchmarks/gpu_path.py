"""The GPU path as far as it can be tried without a GPU; writes benchmarks/results/gpu_path.json.

    python tools/benchmarks/gpu_path.py --engine ENVIRONMENT --before CHECKOUT

Counts what a reader found and what became of it (gpu_path_items.yaml), builds every layout, family and precision over
Transformer Engine's own classes (the environment of tests/transformer_engine.sh), compares its training with the torch
backend's, and a training step on the CPU with that of an earlier checkout: CPU seconds, in turn, each in fresh
processes. Without one of the two that part is left out, and what an earlier call has measured of it stays.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.environ.get("REDONE_STEP_TREE", str(ROOT))

_FP32 = 1e-5  # cases that are held to it are trained in fp32
_REPEATS, _STEPS, _LENGTH, _SEGMENTS = 7, 16, 256, 8
_SHAPE = {
    **{"model_type": "qwen2", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "intermediate_size": 704, "vocab_size": 4096, "rms_norm_eps": 1e-6},
    **{"max_position_embeddings": 512, "rope_theta": 1e6, "tie_word_embeddings": True, "hidden_act": "silu"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, help="an environment with Transformer Engine")
    parser.add_argument("--before", type=Path, help="a checkout to compare a step with")
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--notes", default="", help="what the machine was doing besides")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step_seconds()))
        return
    from tools.benchmarks.recording import record_part

    packages, busy = ["torch", "megatron-core"], options.notes
    record_part("gpu_path", "items", count_items(), packages, f"Nothing was measured on a GPU. {busy}")
    if options.engine is not None:
        how = (
            "Transformer Engine 2.11 with torch 2.11 on Python 3.12, without a device: kernels are references in Python"
        )
        record_part("gpu_path", "engine", engine_figures(options.engine), packages, f"{how}. {busy}")
    if options.before is not None:
        how = f"CPU seconds of a step, new over old: medians of {_REPEATS} pairs of processes"
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
    """CPU seconds of a step over those of the checkout, of plain and of packed rows."""
    pairs = [(_step(ROOT), _step(before)) for _ in range(_REPEATS)]
    ratios = {kind: [new[kind] / old[kind] for new, old in pairs] for kind in ("pretrain", "packed")}
    found = {f"cpu_step_vs_before_{kind}": statistics.median(values) for kind, values in ratios.items()}
    spread = max(max(values) - min(values) for values in ratios.values())
    return {"cpu_step_vs_before": max(found.values()), **found, "cpu_step_spread": spread}


def _step(tree: Path) -> dict[str, float]:
    variables = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "REDONE_STEP_TREE": str(tree)}
    command = [sys.executable, "-W", "ignore", __file__, "--step"]
    done = subprocess.run(command, cwd=tree, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def step_seconds() -> dict[str, float]:
    """CPU seconds of a step of two micro-batches of one row: the fastest of some."""
    import torch

    from megatron_redone.architectures import parse_architecture
    from megatron_redone.batches.micro_batch import MicroBatch
    from megatron_redone.config.model import ModelConfig, Precision
    from megatron_redone.config.optimizer import OptimizerConfig
    from megatron_redone.config.parallel import Device, ParallelConfig
    from megatron_redone.distributed import start_context
    from megatron_redone.models.build import build_model
    from megatron_redone.models.wrapping import wrap_data_parallel
    from megatron_redone.objectives.language_modelling import LanguageModelling
    from megatron_redone.training.optimizer import build_optimizer
    from megatron_redone.training.train_step import train_step

    torch.set_num_threads(1)
    context = start_context(ParallelConfig(), Device.cpu)
    model = build_model(parse_architecture(_SHAPE), ModelConfig(precision=Precision.fp32), context)
    chunks = wrap_data_parallel(model)
    optimizer, objective = build_optimizer(chunks, OptimizerConfig()), LanguageModelling(model.row_placer)

    def row(packed: bool) -> MicroBatch:
        ids, part = torch.randint(0, 4096, (1, _LENGTH + 1)), _LENGTH // _SEGMENTS
        positions = torch.arange(part).repeat(_SEGMENTS)[None] if packed else torch.arange(_LENGTH)[None]
        return MicroBatch(
            tokens=ids[:, :-1].contiguous(),
            labels=ids[:, 1:].contiguous(),
            loss_mask=(positions >= part // 2).float() if packed else torch.ones(1, _LENGTH),
            position_ids=positions,
            cu_seqlens=torch.arange(0, _LENGTH + 1, part, dtype=torch.int32) if packed else None,
        )

    found = {}
    for kind in ("pretrain", "packed"):
        batches, seconds = [row(kind == "packed") for _ in range(2)], []
        for number in range(_STEPS + 3):
            begin = time.process_time()
            train_step(chunks, optimizer, objective, batches)
            if number >= 3:
                seconds.append(time.process_time() - begin)
        found[kind] = min(seconds)
    return found


if __name__ == "__main__":
    main()
