"""Runs that differ in what small steps in bf16 lose, from one bf16 checkpoint, on one process each.

    python -m tools.small_steps.run --data DIR --model DIR --work DIR [--only cpt/1e-05 dpo]

DIR of --data holds `social_en` and `dpo` as described in its SOURCES.md, DIR of --model SmolLM2-135M-Instruct in bf16.
Every run leaves one file in WORK/runs; what is there, or kept in the repository, is not run again, and several of these
commands share the work between them. `python -m tools.small_steps.report` keeps them, and makes tables and the picture.
"""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.small_steps.kept import kept_runs

CPT_STEPS, DPO_STEPS, FP8_STEPS = 200, 100, 100
CPT_RATES, DPO_RATES, FP8_RATE = (1e-5, 1e-6, 1e-4), (7e-7, 1e-6), 1e-5
RECIPES = ("delayed", "tensorwise", "blockwise")
OURS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "fp32_dithered": {},  # shows how far two fp32 runs drift apart that begin within the rounding of bf16
    "nearest": {"dither_main_weights": False},
    "dithered": {"dither_main_weights": True},
    "stochastic": {"dither_main_weights": False, "bf16_rounding": "stochastic"},
}


@dataclass(frozen=True)
class Job:
    """One run. Its name is that of its file."""

    task: str
    lr: float
    side: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task}/{self.lr:g}/{self.side}/{self.seed}"


def jobs() -> Iterator[Job]:
    """All of them; what decides comes first."""
    rates = [("cpt", lr) for lr in CPT_RATES] + [("dpo", lr) for lr in DPO_RATES]
    for task, lr in rates:
        yield from (Job(task, lr, side, 0) for side in ("fp32", "dithered", "nearest"))
    yield from _seed(1, rates)
    for task, lr in rates:
        yield Job(task, lr, "autocast" if task == "cpt" else "trl", 0)
    yield Job("fp8", FP8_RATE, "fp32", 0)
    for recipe in RECIPES:
        yield from (
            Job("fp8", FP8_RATE, f"{recipe}-{side}", 0) for side in ("dithered", "nearest", "fp32", "fp32_dithered")
        )
    yield from _seed(2, rates)
    for task, lr in rates:
        yield Job(task, lr, "stochastic", 0)
    for side in ("nearest", "stochastic"):
        for seed in (1, 2):
            yield from (Job(task, lr, side, seed) for task, lr in rates)
    for recipe in RECIPES:
        for seed in (1, 2):
            yield from (Job("fp8", FP8_RATE, f"{recipe}-{side}", seed) for side in ("dithered", "nearest"))
    yield from (Job("fp8", FP8_RATE, "fp32", seed) for seed in (1, 2))
    yield from (Job("cpt", 1e-4, "fp32_dithered", seed) for seed in (0, 1, 2))


def _seed(seed: int, rates: list[tuple[str, float]]) -> Iterator[Job]:
    for task, lr in rates:
        yield from (Job(task, lr, side, seed) for side in ("fp32", "dithered"))


def main() -> None:
    """Runs what nobody else is running, each in a process of its own."""
    options = parse_options()
    if options.job:
        one = next(job for job in jobs() if job.name == options.job)
        run(one, options.data, options.model, options.work)
        return
    kept = kept_runs()
    for job in jobs():
        if job.name in kept or (options.only and not any(job.name.startswith(only) for only in options.only)):
            continue
        output = options.work / "runs" / f"{job.name}.json"
        output.parent.mkdir(parents=True, exist_ok=True)
        with open(output.with_suffix(".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not output.exists():
                print(f"{time.strftime('%H:%M:%S')} {job.name}", flush=True)
                command = [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "tools.small_steps.run",
                    "--job",
                    job.name,
                ]
                command += [
                    "--data",
                    str(options.data),
                    "--model",
                    str(options.model),
                    "--work",
                    str(options.work),
                ]
                with open(output.with_suffix(".log"), "w") as log:
                    if subprocess.run(command, stdout=log, stderr=log).returncode:
                        print(
                            f"{job.name} failed: {output.with_suffix('.log')}",
                            flush=True,
                        )


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of public data sets")
    parser.add_argument("--model", type=Path, required=True, help="SmolLM2-135M-Instruct in bf16")
    parser.add_argument("--work", type=Path, required=True, help="where results and prepared data go")
    parser.add_argument("--only", nargs="+", help="beginnings of the names of the runs that are wanted")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.data, options.model, options.work = (p.resolve() for p in (options.data, options.model, options.work))
    return options


def run(job: Job, data: Path, model: Path, work: Path) -> None:
    """Trains, judges the weights, and writes the file."""
    import torch

    from tools.benchmarks.bf16_products import fast_products
    from tools.small_steps import text

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    pairs = work / "pairs"
    if job.task == "dpo":
        with open(work / "pairs.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text.prepare_pairs(data, model, pairs)
    begin = time.perf_counter()
    by = run_theirs if job.side in ("autocast", "trl") else run_ours
    with fast_products():
        losses, seconds, judged = by(job, data, model, work)
    result = {
        **job.__dict__,
        "losses": losses,
        "train_seconds": seconds,
        "seconds": time.perf_counter() - begin,
        **judged,
    }
    output = work / "runs" / f"{job.name}.json"
    output.with_suffix(".partial").write_text(json.dumps(result, indent=1))
    os.replace(output.with_suffix(".partial"), output)


def run_ours(job: Job, data: Path, model: Path, work: Path) -> tuple[list[float], float, dict[str, Any]]:
    """Losses, seconds, and what the weights are worth."""
    from megatron_redone.config.model import Precision
    from tools.small_steps import ours
    from tools.small_steps.judging import judge_weights

    recipe, _, side = job.side.rpartition("-")
    config = ours.optimizer_config(job.lr, **our_keys(side))
    context = ours.start()
    precision = Precision.fp32 if side.startswith("fp32") else Precision.bf16
    built = ours.load(model, precision, context, recipe or None)
    if side == "fp32_dithered":
        ours.begin_dithered(built, job.seed)
    if job.task == "dpo":
        scored = ours.score_as_reference(built, work / "pairs")
        begin = time.perf_counter()
        trained = ours.optimise_preferences(built, scored, job.seed, DPO_STEPS, config)
    else:
        from tools.small_steps.text import read_posts

        batches = read_posts(data, model).in_order(job.seed, CPT_STEPS)[: FP8_STEPS if job.task == "fp8" else None]
        begin = time.perf_counter()
        trained = ours.continue_pretraining(built, batches, config, job.seed)
    seconds = time.perf_counter() - begin
    return (
        trained.losses,
        seconds,
        judge_weights(job, trained, data, model, work, context),
    )


def our_keys(side: str) -> dict[str, Any]:
    """The optimizer's keys of a side."""
    keys = dict(OURS[side])
    if "bf16_rounding" in keys:
        from megatron_redone.config.optimizer import Bf16Rounding

        keys["bf16_rounding"] = Bf16Rounding(keys["bf16_rounding"])
    return keys


def run_theirs(job: Job, data: Path, model: Path, work: Path) -> tuple[list[float], float, dict[str, Any]]:
    """The same by other people's code; its weights come back through Hugging Face directories."""
    import random

    from tools.small_steps import ours, theirs
    from tools.small_steps.judging import judge_folder
    from tools.small_steps.text import PAIRS_A_STEP, TRAIN_PAIRS, read_posts

    output = work / "theirs" / job.name
    output.mkdir(parents=True, exist_ok=True)
    config = ours.optimizer_config(job.lr)
    begin = time.perf_counter()
    if job.task == "dpo":
        order = random.Random(job.seed).sample(range(TRAIN_PAIRS), TRAIN_PAIRS)[: DPO_STEPS * PAIRS_A_STEP]
        losses = theirs.trl(model, work / "pairs", order, config, output)
    else:
        losses = theirs.autocast(model, read_posts(data, model).in_order(job.seed, CPT_STEPS), config, output)
    seconds = time.perf_counter() - begin
    judged = judge_folder(job, output, data, model, work, ours.start())
    shutil.rmtree(output)
    return losses, seconds, judged


if __name__ == "__main__":
    main()
