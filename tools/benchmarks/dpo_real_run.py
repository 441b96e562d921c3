"""Direct preference optimisation of a real model on real pairs, through the real command line.

    python tools/benchmarks/dpo_real_run.py --data DIR --model DIR [--steps 30]

DIR of --data holds `dpo/hh_rlhf_harmless_a.jsonl`, as its authors publish it, DIR of --model a model after
supervised fine-tuning, for example SmolLM2-135M-Instruct or what `redone export-hf` wrote of a run. The reference is
scored once, then the policy is trained; both are validated on pairs that were held out.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import tempfile
from pathlib import Path

from tools.benchmarks import hh_rlhf
from tools.benchmarks.real_run import records, redone, validation
from tools.benchmarks.recording import record

FIGURES = ("accuracy", "margin", "loss", "reward_chosen", "reward_rejected")
HELD_OUT = 128
CHARACTERS = 1500  # of a record: short ones, so that the run takes minutes
SEQ_LENGTH, PAIRS = 1024, 8
BETA, LR = 0.1, 1e-5


def main() -> None:
    """Scores, trains, prints, and writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of public data sets that holds dpo/")
    parser.add_argument("--model", type=Path, required=True, help="a Hugging Face directory after fine-tuning")
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps")
    parser.add_argument("--notes", default="", help="added to the result, for example that the machine was busy")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        metrics = run(options.data.resolve(), options.model.resolve(), options.steps, Path(folder))
    notes = (
        f"Means over {HELD_OUT} held-out pairs before and after {options.steps} steps of {PAIRS} pairs of hh-rlhf "
        "(harmless), from SmolLM2-135M-Instruct, which is the reference too: at the start every reward is 0 but for "
        f"rounding, and chance is an accuracy of 0.5. DPO, beta {BETA}, learning rate {LR}, fp32, one process, prompts "
        "shared. Accuracy: share of pairs whose chosen response has the greater reward; margin: of the rewards. "
        f"{options.notes}"
    )
    packages = ("megatron_redone", "megatron-core", "torch", "transformers")
    record("dpo_real_run", metrics, packages, notes.strip())


def run(data: Path, model: Path, steps: int, folder: Path) -> dict[str, float]:
    """Prepares, scores and trains; the validation figures of start and end."""
    pairs = list(hh_rlhf.read(data / "dpo" / "hh_rlhf_harmless_a.jsonl"))
    hh_rlhf.write(pairs, CHARACTERS, steps * PAIRS + HELD_OUT, folder / "pairs.jsonl")
    redone(
        "prepare-preferences",
        f"sources=[{{name: pairs, validation_count: {HELD_OUT}, input: [{folder}/pairs.jsonl]}}]",
        f"output_dir={folder}/prepared",
        f"tokenizer.path={model}",
    )
    shared = ("model.precision=fp32", "device=cpu", f"init_from={model}")
    datasets = [f"{folder}/prepared/pairs", f"{folder}/prepared/pairs.validation"]
    sources = ", ".join(f"{{path: {path}}}" for path in datasets)
    scoring = redone("score-reference", *shared, f"data=[{sources}]", "share_prompt=true")
    training = optimise(shared, steps, folder)
    end = records(folder / "run")
    metrics = {"steps": float(steps), "scoring_seconds": scoring, "training_seconds": training}
    for figure in FIGURES:
        values = validation(folder / "run", f"pairs/{figure}")
        metrics[f"validation_{figure}_start"], metrics[f"validation_{figure}_end"] = values[0], values[-1]
    metrics["train_loss_last"] = next(r["loss"] for r in reversed(end) if "loss" in r)
    return metrics


def optimise(shared: tuple[str, ...], steps: int, folder: Path) -> float:
    """Trains into FOLDER/run; the seconds it took."""
    return redone(
        "dpo",
        *shared,
        f"output_dir={folder}/run",
        f"data.blend=[{{path: {folder}/prepared/pairs}}]",
        f"data.validation=[{{path: {folder}/prepared/pairs.validation, name: pairs}}]",
        f"data.seq_length={SEQ_LENGTH}",
        f"data.validation_pairs={HELD_OUT}",
        "data.share_prompt=true",
        f"loss.beta={BETA}",
        f"training.global_batch_size={PAIRS}",
        f"training.train_steps={steps}",
        f"optimizer.lr={LR}",
        "optimizer.warmup_ratio=0.1",
        "optimizer.weight_decay=0.0",
        "metrics.log_interval=5",
        "checkpoint.save_every=null",
    )


if __name__ == "__main__":
    main()
