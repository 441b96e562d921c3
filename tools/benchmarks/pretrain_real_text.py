"""A real run end to end: raw text to tokens, then pretraining on two processes that share every matrix.

    python tools/benchmarks/pretrain_real_text.py --data DIR [--steps 200]

DIR holds real text (`social_en`, `social_zh`, `general`) and a `tokenizer` directory. Every fiftieth
document is held out. The model has Qwen2's shape and vocabulary and about 20 M parameters.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from tools.benchmarks import real_text
from tools.benchmarks.recording import record

PROCESSES = 2
SEQ_LENGTH = 128
BATCH = 8
HELD_OUT = 50
SOURCES = {"social": ("social_en", "social_zh"), "general": ("general",)}
ARCHITECTURE = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 384,
    "vocab_size": 151936,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the text and a tokenizer")
    parser.add_argument("--steps", type=int, default=200, help="training steps")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(arguments.data.resolve(), arguments.steps, Path(folder))


def run(data: Path, steps: int, folder: Path) -> None:
    """Tokenizes, trains and records the validation losses."""
    for source, parts in SOURCES.items():
        write_source(data, parts, folder, source)
        for name in (source, f"{source}_held_out"):
            keys = [f"input={folder}/{name}.jsonl", f"tokenizer.path={data}/tokenizer", "shuffle=true"]
            redone("tokenize", *keys, f"output_prefix={folder}/{name}")
    (folder / "config.json").write_text(json.dumps(ARCHITECTURE))
    pretrain(data, steps, folder)
    records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [[r[f"validation/{s}/loss"] for r in records if f"validation/{s}/loss" in r] for s in SOURCES]
    speeds = sorted(r["tokens_per_second"] for r in records if "tokens_per_second" in r)
    metrics = {
        "validation_loss_start": sum(loss[0] for loss in losses) / len(losses),
        "validation_loss_end": sum(loss[-1] for loss in losses) / len(losses),
        **{f"validation_loss_start_{s}": loss[0] for s, loss in zip(SOURCES, losses, strict=True)},
        **{f"validation_loss_end_{s}": loss[-1] for s, loss in zip(SOURCES, losses, strict=True)},
        "steps": steps,
        "tokens": steps * BATCH * SEQ_LENGTH,
        "tokens_per_s": speeds[len(speeds) // 2],
    }
    notes = (
        "Mean loss per token (nats) over the held-out documents of both sources, before and after training from random "
        f"weights; 20 M parameters, fp32, tensor_model_parallel_size={PROCESSES} on {PROCESSES} processes. The loss of "
        "a uniform guess over the vocabulary is 11.93."
    )
    record("pretrain_real_text", metrics, ["torch", "megatron-core", "gigatoken"], notes)


def write_source(data: Path, parts: tuple[str, ...], folder: Path, source: str) -> None:
    """The documents of some parts of the data as JSON lines, held-out ones apart."""
    with (folder / f"{source}.jsonl").open("w") as train, (folder / f"{source}_held_out.jsonl").open("w") as held_out:
        for number, text in enumerate(real_text.documents(data, parts)):
            (train if number % HELD_OUT else held_out).write(json.dumps({"text": text}) + "\n")


def pretrain(data: Path, steps: int, folder: Path) -> None:
    """Trains on a blend of both sources, the social one with the larger share."""
    redone(
        "pretrain",
        f"output_dir={folder}/run",
        f"model.hf_config={folder}/config.json",
        f"tokenizer={data}/tokenizer",
        "model.precision=fp32",
        "device=cpu",
        f"parallel.tensor_model_parallel_size={PROCESSES}",
        f"data.blend=[{{path: {folder}/social, weight: 0.7}}, {{path: {folder}/general, weight: 0.3}}]",
        f"data.validation=[{{path: {folder}/social_held_out, name: social}}, "
        f"{{path: {folder}/general_held_out, name: general}}]",
        "data.validation_samples=32",
        f"data.seq_length={SEQ_LENGTH}",
        f"training.global_batch_size={BATCH}",
        f"training.micro_batch_size={BATCH}",
        f"training.train_steps={steps}",
        f"training.validate_every={max(1, steps // 4)}",
        "optimizer.lr=3e-3",
        "optimizer.warmup_ratio=0.05",
        "metrics.log_interval=10",
        "checkpoint.save_every=null",
        launcher=["torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES), "-m"],
    )


def redone(stage: str, *keys: str, launcher: list[str] | None = None) -> None:
    """Runs a stage and ends with it when it fails."""
    command = [sys.executable, "-m", *(launcher or []), "megatron_redone", stage, *keys]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
