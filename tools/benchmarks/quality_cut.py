"""Does a cut by quality pay? Continued pretraining on what `redone select-quality` keeps, beside a random cut.

    python tools/benchmarks/quality_cut.py --posts LAID_OUT --work DIR [--keep-to 0.9 0.5] [--no-record]

LAID_OUT is a folder that tools/lay_out_shared_data.py wrote. Its posts are curated, one in ten is held out. A small
model is trained on the general texts: it is both the base model and the scorer, whose loss is the score. For every
seed the posts are scored and cut by percentile within source, language and length; a random cut takes as many
documents of each class. The base model then reads the same number of tokens of the one and of the other. Killed, the
same command goes on. --work keeps everything.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from scipy.stats import t as student

from tools.benchmarks.byte_level_tokenizer import train_tokenizer
from tools.benchmarks.real_run import redone
from tools.benchmarks.recording import record_part

VOCABULARY = 2048
SEQ_LENGTH = 128
BATCH = 16
ARCHITECTURE = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}
ARMS = ("cut", "random")
HELD_OUT = {"social": ("social", 3000), "general": ("general", 300)}  # group, documents that are evaluated
CONFIDENCE = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=Path, required=True, help="a folder that lay_out_shared_data.py wrote")
    parser.add_argument("--work", type=Path, required=True, help="folder for data, runs and results; it stays")
    parser.add_argument("--keep-to", type=float, nargs="+", default=[0.9, 0.5], help="percentiles that stay")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base-tokens", type=int, default=2_000_000)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="that each continued pretraining reads")
    parser.add_argument("--no-record", action="store_true", help="print only: of a small form")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    prepare(arguments.posts.resolve(), work, arguments.base_tokens)
    metrics: dict[str, float] = {}
    for keep_to in arguments.keep_to:
        for seed in range(arguments.seeds):
            choose(work, keep_to, seed)
            for arm in ARMS:
                continue_pretraining(work, f"{arm}_{keep_to:g}_{seed}", seed, arguments.tokens)
        metrics |= compared(work, keep_to, arguments.seeds)
    print(json.dumps(metrics, indent=2))
    if not arguments.no_record:
        record_part("curation_quality", "quality_cut", metrics, ["torch", "megatron-core"], _notes(arguments))


def _notes(arguments: argparse.Namespace) -> str:
    return (
        f"bits per byte of held-out posts and general texts after {arguments.tokens} tokens, from one base model of "
        f"0.4 M parameters that read {arguments.base_tokens} tokens of general text; means over {arguments.seeds} "
        "seeds, each with its own random cut. difference: cut less random, paired by seed, below 0 where the cut is "
        "better; half_width: of its 95 % interval by Student's t; document_half_width: of the widest interval over "
        "documents of one seed (bootstrap of `redone evaluate`, both arms on the same draws)"
    )


def prepare(posts: Path, work: Path, tokens: int) -> None:
    """Curated posts, a tokenizer, and the base model as a Hugging Face directory."""
    kinds = ", ".join(f"{{name: {name}, input: [{posts}/posts/{name}.jsonl], kind: {name}}}" for name in HELD_OUT)
    redone(
        "curate",
        f"sources=[{kinds}]",
        f"output_dir={work}/curated",
        "held_out.fraction=0.1",
        "held_out.max_documents=6000",
    )
    train_tokenizer(
        work / "tokenizer", (text for name in HELD_OUT for text in _texts(work / f"curated/{name}.jsonl")), VOCABULARY
    )
    (work / "shape").mkdir(exist_ok=True)
    (work / "shape/config.json").write_text(json.dumps(ARCHITECTURE))
    pretrain(work, "base", work / "curated/general.jsonl", 0, tokens, f"model.hf_config={work}/shape", lr=4e-3)


def choose(work: Path, keep_to: float, seed: int) -> None:
    """The cut and the random cut of one seed. Scores are kept: another percentile needs no others."""
    folder = work / f"selected_{seed}"
    redone(
        "select-quality",
        f"sources=[{{name: social, input: [{work}/curated/social.jsonl]}}]",
        f"output_dir={folder}",
        f"perplexity.model={work}/base/hf",
        "perplexity.tokens=128",
        "perplexity.batch_size=512",
        f"keep_to={keep_to}",
        f"seed={seed}",
        "overwrite=true",
        threads=1,
    )
    for arm, file in zip(ARMS, (folder / "social.jsonl", folder / "random/social.jsonl"), strict=True):
        text = work / f"{arm}_{keep_to:g}_{seed}.jsonl"
        if not text.exists():
            text.write_bytes(file.read_bytes())


def continue_pretraining(work: Path, name: str, seed: int, tokens: int) -> None:
    """The base model goes on with the posts of one arm."""
    pretrain(work, name, work / f"{name}.jsonl", seed, tokens, f"init_from={work}/base/hf", lr=1.5e-3)


def pretrain(work: Path, name: str, texts: Path, seed: int, tokens: int, start: str, lr: float) -> None:
    """Trains on `texts` and exports the model to NAME/hf; `seed` orders the documents."""
    folder = work / name
    redone(
        "tokenize",
        f"input={texts}",
        f"tokenizer.path={work}/tokenizer",
        f"output_prefix={folder}/tokens",
        "shuffle=true",
        f"seed={seed}",
    )
    redone(
        "pretrain",
        f"output_dir={folder}/run",
        start,
        f"tokenizer={work}/tokenizer",
        "model.precision=fp32",
        "device=cpu",
        f"data.blend=[{{path: {folder}/tokens, weight: 1.0}}]",
        f"data.seed={seed}",
        f"data.seq_length={SEQ_LENGTH}",
        f"training.global_batch_size={BATCH}",
        f"training.micro_batch_size={BATCH}",
        f"training.train_tokens={tokens}",
        f"optimizer.lr={lr}",
        "optimizer.warmup_ratio=0.03",
        "metrics.log_interval=100",
        threads=1,  # a small model's products are too small to share
    )
    if not (folder / "hf").exists():
        redone("export-hf", f"checkpoint={folder}/run", f"output={folder}/hf")


def compared(work: Path, keep_to: float, seeds: int) -> dict[str, float]:
    """Bits per byte of the base model and of both arms, and how far the arms are apart."""
    found = [evaluated(work, keep_to, seed) for seed in range(seeds)]
    metrics: dict[str, float] = {}
    for source in HELD_OUT:
        name = f"quality_{keep_to:g}_{source}"
        cut, random = ([one[source][arm]["value"] for one in found] for arm in ARMS)
        differences = [a - b for a, b in zip(cut, random, strict=True)]
        metrics |= {
            f"{name}_base_bits": found[0][source]["base"]["value"],
            f"{name}_cut_bits": statistics.mean(cut),
            f"{name}_random_bits": statistics.mean(random),
            f"{name}_difference": statistics.mean(differences),
            f"{name}_half_width": half_width(differences),
            f"{name}_document_half_width": max(_half_width_over_documents(one[source]["cut"]) for one in found),
        }
    return metrics


def half_width(values: list[float]) -> float:
    """Of the interval of a mean, by Student's t."""
    quantile = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(quantile * statistics.stdev(values) / len(values) ** 0.5)


def _half_width_over_documents(row: dict[str, Any]) -> float:
    return (row["difference_high"] - row["difference_low"]) / 2


def evaluated(work: Path, keep_to: float, seed: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Of each source and model the bits per byte; of `cut` also how much they are above those of `random`."""
    output = work / f"evaluated_{keep_to:g}_{seed}"
    models = [f"{{path: {work}/base/hf, name: base}}"]
    models += [f"{{path: {work}/{arm}_{keep_to:g}_{seed}/hf, name: {arm}}}" for arm in ARMS]
    held_out = [
        f"{{path: {work}/curated/held_out/{name}.jsonl, name: {name}, group: {group}, max_records: {records}}}"
        for name, (group, records) in HELD_OUT.items()
    ]
    redone(
        "evaluate",
        f"output={output}",
        "base=random",
        f"models=[{', '.join(models)}]",
        f"held_out=[{', '.join(held_out)}]",
        "window=256",
        "stride=192",
        "dtype=fp32",
        threads=1,
    )
    content = json.loads((output / "evaluation.json").read_text())
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in HELD_OUT}
    for row in content["metrics"]:
        if row["metric"] == "bits_per_byte" and row["source"] is not None:
            found[row["source"]][row["model"]] = row
    return found


def _texts(file: Path) -> list[str]:
    return [json.loads(line)["text"] for line in file.open(encoding="utf-8")]


if __name__ == "__main__":
    main()
