"""`redone optimize-mixture` on real text, and its optimum on known response surfaces.

    python tools/benchmarks/mixture.py --data DIR --work DIR [--proxies 64] [--train-tokens 400000] [--no-record]

DIR of --data holds public data sets (`social_en`, `social_zh`, `general`, `sft`). Six of them are sources; three that
are none are the target. A byte-level BPE of 1,024 tokens is trained on the sources, so that the output layer does not
outweigh all else; runs are so short that attention has not begun to copy, which begins at another step with each seed.
Then:
1. a search; its rank correlation over mixtures kept out, and the table of the winner against the baselines;
2. known surfaces with the noise that was measured, log-linear ones and others: how far the proposal is from the best;
3. one source swapped: a whole search, and one that reuses the first with 30 % of the proxies; how far apart their
   winners are, in deviations between seeds.

Killed, the same command goes on. --work keeps everything.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_redone.mixture import baselines
from tests.helpers import response_surfaces
from tools.benchmarks import real_text
from tools.benchmarks.byte_level_tokenizer import train_tokenizer
from tools.benchmarks.real_run import redone
from tools.benchmarks.recording import record

VOCABULARY = 1024
SEQ_LENGTH = 128
BATCH = 8
ARCHITECTURE = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 168,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}
SURFACES = 20  # of each kind
REUSE_FRACTION = 0.3
LEAST_CHARACTERS = 8
SOURCES = {
    "tweets_en": ["social_en/wnut17_raw"],
    "reddit_en": ["social_en/goemotions"],
    "comments_zh": ["social_zh/cold"],
    "wiki_zh": ["general/cmrc2018_dev.json", "general/cmrc2018_trial.json"],
    "wiki_en": ["general/wiki_demo.txt", "general/wikitext2_valid.txt"],
    "maths_en": ["sft/gsm8k_train.jsonl"],
}
GONE, NEW = "maths_en", {"roleplay_en": ["sft/gpteacher_roleplay.json"]}
TARGET = {
    "social_en": (0.4, ["social_en/vader_tweets.tsv", "social_en/broad_twitter_ner"]),
    "social_zh": (
        0.4,
        ["social_zh/kdconv_film.jsonl", "social_zh/kdconv_music.jsonl", "social_zh/kdconv_travel.jsonl"],
    ),
    "general": (0.2, ["general/c4_demo.jsonl"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the text")
    parser.add_argument("--work", type=Path, required=True, help="folder for data, runs and results; it stays")
    parser.add_argument("--proxies", type=int, default=64)
    parser.add_argument("--kept-out", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-tokens", type=int, default=400_000, help="of one small run")
    parser.add_argument("--processes", type=int, default=0, help="small runs at the same time; 0 takes one a core")
    parser.add_argument("--no-record", action="store_true", help="print only: of a small form, or a busy machine")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    _prepare(arguments.data.resolve(), arguments.work)
    metrics = measure(arguments)
    print(json.dumps(metrics, indent=2))
    if not arguments.no_record:
        record("mixture", metrics, ["torch", "megatron-core", "scipy", "lightgbm"], NOTES)


NOTES = (
    "Target loss in nats a token (0.4 English posts, 0.4 Chinese dialogues, 0.2 web text, none of them of a source), a "
    "model of 0.15 M parameters, vocabulary 1,024. Differences are means over seeds, _half_width is of their 95 % "
    "interval. minutes: of the first search, with all baselines. reuse_gap_in_seed_noise: loss of the winner of the "
    "reused search less that of the whole one, both means over seeds, in deviations between seeds of one mixture. "
    "surface_gap: the greatest of 40 surfaces of six sources with the noise measured. Two small runs at a time on two "
    "cores, which others used too."
)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Runs the three searches and the surfaces."""
    first = _search(arguments, "first", list(SOURCES), arguments.proxies, arguments.kept_out)
    swapped = [name for name in SOURCES if name != GONE] + list(NEW)
    whole = _search(arguments, "swapped", swapped, arguments.proxies, arguments.kept_out)
    few = round(REUSE_FRACTION * arguments.proxies)
    kept_out = max(4, round(REUSE_FRACTION * arguments.kept_out))
    reused = _search(arguments, "reused", swapped, few, kept_out, reuse=str(arguments.work / "first"))
    noise = first["noise_between_seeds"]
    gaps = _surface_gaps(noise)
    rows = {row["name"]: row for row in first["table"]}
    metrics = {
        "spearman_kept_out": first["regressions"][0]["rank_correlation"],
        **{f"spearman_{one['name']}": one["rank_correlation"] for one in first["regressions"]},
        "noise_between_seeds": noise,
        "reuse_gap_in_seed_noise": (_winner(reused) - _winner(whole)) / noise,
        "reuse_proxies": few,
        **{f"surface_gap_{kind}": max(found) for kind, found in gaps.items()},
        "surface_gap": max(max(found) for found in gaps.values()),
        "minutes": first["minutes"],
        "proxies": arguments.proxies,
    }
    names = {"prior": baselines.PRIOR, "uniform": baselines.UNIFORM, "best_single": baselines.BEST_SINGLE}
    for name, row in {name: rows[row] for name, row in names.items()}.items():
        metrics[f"winner_minus_{name}"] = row["winner_minus"]
        metrics[f"winner_minus_{name}_half_width"] = row["winner_minus_half_width"]
    return metrics


def _prepare(data: Path, work: Path) -> None:
    """Trains the tokenizer and tokenizes sources and target, where that has not been done."""
    sets = {**SOURCES, **NEW, **{name: paths for name, (_, paths) in TARGET.items()}}
    for name, paths in sets.items():
        folder = work / "links" / name
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            link = folder / Path(path).name
            if not link.is_symlink():
                link.symlink_to(data / path)
        _write_texts(work, name)
    _train_tokenizer(work, [*SOURCES, *NEW])
    (work / "model").mkdir(exist_ok=True)
    (work / "model" / "config.json").write_text(json.dumps(ARCHITECTURE))
    for name in sets:
        keys = [f"input={work}/{name}.jsonl", f"tokenizer.path={work}/tokenizer", "shuffle=true"]
        redone("tokenize", *keys, f"output_prefix={work}/{name}")


def _write_texts(work: Path, name: str) -> None:
    """The texts of a set as JSON lines; folders among the links are read through."""
    file = work / f"{name}.jsonl"
    if file.exists():
        return
    folder = work / "links"
    parts = [f"{name}/{link.name}" for link in sorted((folder / name).iterdir()) if link.is_dir()] or [name]
    texts = list(dict.fromkeys(text for text in real_text.documents(folder, [name, *parts]) if _counts(text)))
    file.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")


def _counts(text: str) -> bool:
    return len(text.strip()) >= LEAST_CHARACTERS


def _train_tokenizer(work: Path, names: Sequence[str]) -> None:
    """On the sources, each with as many characters as the smallest."""
    texts = {name: _texts(work, name) for name in names}
    size = min(sum(map(len, own)) for own in texts.values())
    train_tokenizer(
        work / "tokenizer", (text for own in texts.values() for text in _first(own, size)), vocabulary=VOCABULARY
    )


def _texts(work: Path, name: str) -> list[str]:
    return [json.loads(line)["text"] for line in (work / f"{name}.jsonl").open(encoding="utf-8")]


def _first(texts: Sequence[str], size: int) -> list[str]:
    taken: list[str] = []
    for text in texts:
        size -= len(text)
        if size < 0:
            break
        taken.append(text)
    return taken


def _search(
    arguments: argparse.Namespace, name: str, sources: Sequence[str], proxies: int, kept_out: int, **keys: str
) -> dict[str, Any]:
    """One search, and the minutes that it took; of one that is there already, those of then."""
    work, clock = arguments.work, arguments.work / f"{name}.minutes"
    started = time.monotonic()
    target = ", ".join(f"{{path: {work}/{one}, weight: {weight}}}" for one, (weight, _) in TARGET.items())
    redone(
        "optimize-mixture",
        f"output_dir={work}/{name}",
        "sources=[" + ", ".join(f"{{path: {work}/{source}}}" for source in sources) + "]",
        f"target=[{target}]",
        *(f"{key}={value}" for key, value in keys.items()),
        f"proxies={proxies}",
        f"kept_out={kept_out}",
        f"seeds={arguments.seeds}",
        f"processes={arguments.processes}",
        "device=cpu",
        f"proxy.model.hf_config={work}/model",
        f"proxy.tokenizer={work}/tokenizer",
        "proxy.model.precision=fp32",
        f"proxy.seq_length={SEQ_LENGTH}",
        f"proxy.train_tokens={arguments.train_tokens}",
        f"proxy.global_batch_size={BATCH}",
        f"proxy.micro_batch_size={BATCH}",
        "proxy.target_samples=64",
        "proxy.isolate_documents=false",
        "proxy.optimizer.lr=4e-3",
        "proxy.optimizer.warmup_ratio=0.05",
    )
    if not clock.exists():
        clock.write_text(str((time.monotonic() - started) / 60))
    return {**json.loads((work / name / "mixture.json").read_text()), "minutes": float(clock.read_text())}


def _winner(content: dict[str, Any]) -> float:
    return next(row["mean"] for row in content["table"] if row["name"] == baselines.WINNER)


def _surface_gaps(noise: float) -> dict[str, list[float]]:
    kinds = {"log_linear": response_surfaces.log_linear, "transfer": response_surfaces.transfer}
    parts = len(SOURCES)
    return {
        kind: [response_surfaces.gap(make(parts, seed), parts, seed, noise)[0] for seed in range(SURFACES)]
        for kind, make in kinds.items()
    }


if __name__ == "__main__":
    main()
