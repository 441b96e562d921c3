"""Two-step supervised fine-tuning of a real model on real conversations, through the real command line.

    python tools/benchmarks/sft_real_run.py --data DIR --model DIR [--steps 16]

DIR of --data holds the public data sets that tools/lay_out_shared_data.py reads, DIR of --model
SmolLM2-135M-Instruct. Step 1 mixes social and general conversations evenly, step 2 begins with its weights and
takes a larger social share. Both are validated on conversations of both sources that were held out.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import subprocess
import tempfile
from pathlib import Path

from tools.benchmarks.real_run import latest_checkpoint, records, redone, validation
from tools.benchmarks.recording import record

REPOSITORY = Path(__file__).parents[2]
CAPABILITIES = (
    *("content_understanding", "information_extraction", "semantic_matching"),
    *("user_behaviour", "dialogue_persona", "translation"),
)
SOURCES = {"social": CAPABILITIES, "general": ("general",)}
SOCIAL_SHARE = {"step1": 0.5, "step2": 0.8}
CONVERSATIONS = 900  # of each capability
HELD_OUT = 48  # of each source: all of them are validated on
SEQ_LENGTH, ROWS = 1024, 2
VALIDATION_ROWS = 64  # more than they fill
# Step 2 begins where the rate of step 1 has run out: as high a rate again would first undo some of it.
LR = {"step1": 5e-5, "step2": 3e-5}


def main() -> None:
    """Runs both steps, prints, and writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of public data sets")
    parser.add_argument("--model", type=Path, required=True, help="SmolLM2-135M-Instruct")
    parser.add_argument("--steps", type=int, default=16, help="optimizer steps of each of the two steps")
    parser.add_argument("--notes", default="", help="added to the result, for example that the machine was busy")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        metrics = run(options.data.resolve(), options.model.resolve(), options.steps, Path(folder))
    notes = (
        f"Mean loss per learned token (nats) over {HELD_OUT} held-out conversations of each source: at the "
        "start, after step 1 (half social, half general) and after step 2 (four fifths social, from step 1). "
        f"SmolLM2-135M-Instruct, fp32, one process; {ROWS} packed rows of {SEQ_LENGTH} tokens a step. {options.notes}"
    )
    packages = ("megatron_redone", "megatron-core", "torch", "transformers")
    record("sft_real_run", metrics, packages, notes.strip())


def run(data: Path, model: Path, steps: int, folder: Path) -> dict[str, float]:
    """Lays out, prepares and trains; the figures of both steps."""
    prepare(data, model, folder)
    seconds = fine_tune("step1", model, model, steps, folder)
    seconds += fine_tune("step2", latest_checkpoint(folder / "step1"), model, steps, folder)
    metrics = {"steps": float(steps), "seconds": seconds}
    for source in SOURCES:
        first, second = (validation(folder / step, f"{source}/loss") for step in SOCIAL_SHARE)
        metrics[f"validation_loss_{source}_start"] = first[0]
        metrics[f"validation_loss_{source}_after_step1"] = first[-1]
        metrics[f"validation_loss_{source}_after_step2"] = second[-1]
        metrics[f"validation_loss_{source}_fall_in_step2"] = second[0] - second[-1]
    speeds = sorted(
        r["tokens_per_second"] for s in SOCIAL_SHARE for r in records(folder / s) if "tokens_per_second" in r
    )
    metrics["tokens_per_second"] = speeds[len(speeds) // 2]
    return metrics


def prepare(data: Path, model: Path, folder: Path) -> None:
    """Conversations of the six capabilities and general ones, to tokens and masks."""
    layout = REPOSITORY / "tools" / "lay_out_shared_data.py"
    keys = ["--from", str(data), "--to", str(folder / "laid_out"), "--max-per-file", str(CONVERSATIONS)]
    subprocess.run([sys.executable, str(layout), *keys], check=True, stdout=subprocess.DEVNULL)
    talks = folder / "laid_out" / "conversations"
    inputs = {source: ", ".join(f"{talks}/{name}.jsonl" for name in names) for source, names in SOURCES.items()}
    sources = ", ".join(
        f"{{name: {source}, validation_count: {HELD_OUT}, input: [{files}]}}" for source, files in inputs.items()
    )
    redone("prepare-sft", f"sources=[{sources}]", f"output_dir={folder}/prepared", f"tokenizer.path={model}")


def fine_tune(step: str, init_from: Path, tokenizer: Path, steps: int, folder: Path) -> float:
    """One of the two steps, into FOLDER/STEP; the seconds it took."""
    share, prepared = SOCIAL_SHARE[step], folder / "prepared"
    return redone(
        "sft",
        f"output_dir={folder}/{step}",
        f"init_from={init_from}",
        f"tokenizer={tokenizer}",
        "model.precision=fp32",
        "device=cpu",
        f"data.blend=[{{path: {prepared}/social, weight: {share}}}, {{path: {prepared}/general, weight: {1 - share}}}]",
        f"data.validation=[{{path: {prepared}/social.validation, name: social}}, "
        f"{{path: {prepared}/general.validation, name: general}}]",
        f"data.seq_length={SEQ_LENGTH}",
        f"data.validation_rows={VALIDATION_ROWS}",
        f"training.global_batch_size={ROWS}",
        f"training.train_steps={steps}",
        f"optimizer.lr={LR[step]}",
        "optimizer.warmup_ratio=0.1",
        "optimizer.weight_decay=0.01",
        "metrics.log_interval=4",
        "checkpoint.save_every=null",
    )


if __name__ == "__main__":
    main()
