"""Small runs of `redone pretrain`, on ranks of the pool."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.formats.indexed import IndexedDatasetWriter
from tests.helpers import commands

VOCAB = 101  # padded to 128 rows on one tensor-parallel rank and to 256 on two

ARCHITECTURE = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "vocab_size": VOCAB,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}


def write_model(folder: Path, **changes: Any) -> Path:
    """A folder with a config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**ARCHITECTURE, **changes}))
    return folder


def write_dataset(prefix: Path, documents: int = 200, seed: int = 0, vocab: int = VOCAB) -> Path:
    """Random documents that can be learned a little: tokens follow each other by a rule, with noise."""
    random = np.random.default_rng(seed)
    with IndexedDatasetWriter(prefix, np.int32) as writer:
        for _ in range(documents):
            length = int(random.integers(5, 60))
            noise = random.random(length) < 0.2
            walk = (int(random.integers(vocab)) + 7 * np.arange(length)) % vocab
            writer.add(np.where(noise, random.integers(0, vocab, length), walk), np.array([length]))
        writer.finish()
    return prefix


def write_inputs(folder: Path) -> list[str]:
    """Model and data in a folder, and the keys that name them."""
    write_model(folder / "model")
    for name, seed in {"a": 1, "b": 2, "held_out": 3}.items():
        write_dataset(folder / name, seed=seed)
    return [
        "device=cpu",
        f"model.hf_config={folder}/model",
        "model.precision=fp32",
        f"data.blend=[{{path: {folder}/a, weight: 2}}, {{path: {folder}/b, weight: 1}}]",
        f"data.validation=[{{path: {folder}/held_out}}]",
        "data.validation_samples=5",
        "data.seq_length=32",
        "training.global_batch_size=8",
        "training.micro_batch_size=2",
        "training.train_steps=10",
        "optimizer.lr=3e-3",
        "checkpoint.keep_last=null",
    ]


def command_line(arguments: list[str]) -> tuple[int | str | None, str]:
    """Runs the command line on this rank: its exit code, and what it wrote to standard error."""
    done = commands.main(*arguments)
    return done.returncode, done.stderr


def pretrain(keys: list[str]) -> tuple[int | str | None, str]:
    """`redone pretrain` on this rank."""
    return command_line(["pretrain", *keys])


def figures(output_dir: Path, name: str = "loss") -> dict[int, float]:
    """A metric by step, from metrics.jsonl."""
    records = [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]
    return {record["step"]: record[name] for record in records if name in record}
