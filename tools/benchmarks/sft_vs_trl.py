"""Supervised fine-tuning on CPU, ours against TRL's SFTTrainer, side by side: assistant tokens per second.

    python tools/benchmarks/sft_vs_trl.py --data DIR [--model DIR] [--turns 4]

DIR of --data holds `sft/` with alpaca_en_demo.json, gsm8k_train.jsonl and others, as their authors publish them.
Both sides take optimizer steps over the same few hundred conversations, in fp32, with the same number of threads,
each in a process of its own. TRL is measured

- as it comes: padded batches of 8, assistant-only loss, gradient checkpointing, which is its default;
- as it comes with `packing=True`;
- and as a careful user would set it for this model: without gradient checkpointing, packed rows one at a time.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from tools.benchmarks import smollm2_shapes
from tools.benchmarks.recording import record
from tools.benchmarks.side_by_side import Figures, Side, Stopwatch, answer, open_channel, start, stop, take_turns, turns

# What is set beyond the sizes that are the same on all sides; {} is TRL as it comes.
TRL_SIDES: dict[str, dict[str, Any]] = {
    "padded": {},
    "packed": {"packing": True},
    "padded_tuned": {"gradient_checkpointing": False},
    "packed_tuned": {
        **{"packing": True, "gradient_checkpointing": False},
        **{"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
    },
}
STEPS_OF_OUR_TURN = {"padded": 2, "packed": 4, "padded_tuned": 2, "packed_tuned": 4}
CONVERSATIONS_OF_A_STEP = 8  # TRL's per_device_train_batch_size
CHECKED = 8  # conversations whose loss both sides compute before they train
LOSS_TOLERANCE = 1e-4
LR, BETAS, EPS, CLIP = 2e-5, (0.9, 0.999), 1e-8, 1.0  # TRL's and transformers' defaults

SAMPLE = {"alpaca_en": 160, "gsm8k": 160, "roleplay": 120, "identity": 40}
EFFICIENCY_LENGTH = 4096
MILLION = 1_000_000


def main() -> None:
    """Measures, prints, and writes the result file."""
    options = parse_options()
    if options.side:
        serve(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        metrics = measure(options, Path(folder))
    notes = (
        f"fp32, {options.threads} threads, {sum(SAMPLE.values())} conversations of {', '.join(SAMPLE)}, rows of "
        f"{options.seq_length} tokens. tokens_ratio: assistant tokens per second of training, ours over TRL's, of all "
        f"{options.turns} turns together (least and greatest: of one pair of turns), greater than 1 where ours is "
        f"faster. TRL as it comes: batches of {CONVERSATIONS_OF_A_STEP}, gradient checkpointing on; packed: 8 rows of "
        "bfd in one flattened sequence, which sdpa isolates by a dense mask; tuned: checkpointing off, packed rows one "
        "at a time. loss_difference: of both sides' losses on the same conversations before training. "
        f"packing_efficiency: all sources at {EFFICIENCY_LENGTH}; pack_million_s: lengths drawn from theirs. "
        f"{options.notes}"
    )
    packages = ("megatron_redone", "megatron-core", "torch", "transformers", "trl", "accelerate")
    record(options.name, metrics, packages, notes.strip())


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of public data sets that holds sft/")
    parser.add_argument("--model", type=Path, help="SmolLM2-135M-Instruct; left out: its shapes, random weights")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seq-length", type=int, default=1024, help="TRL's default")
    parser.add_argument("--turns", type=int, default=4, help="timed turns of each side; one is TRL's optimizer step")
    parser.add_argument("--warmup", type=int, default=1, help="turns before them")
    parser.add_argument("--against", nargs="+", choices=TRL_SIDES, default=list(TRL_SIDES))
    parser.add_argument("--notes", default="", help="added to the result, for example that the machine was busy")
    parser.add_argument("--name", default="sft_vs_trl", help="of the result file")
    parser.add_argument("--side", choices=("ours", *TRL_SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps-of-a-turn", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Prepares the data, packs all of it, and runs both sides in turns."""
    sources = read_sources(options.data)
    write_sample(sources, folder / "conversations.jsonl")
    if options.model is None:
        texts = (message["content"] for talks in sources.values() for talk in talks for message in talk)
        options.model = smollm2_shapes.write(folder / "model", texts)
    prepare(folder, options.model, {"sample": folder / "conversations.jsonl"})
    metrics = {"checked_conversations": float(CHECKED), **packing_figures(sources, options.model, folder)}
    for name in options.against:
        metrics.update(compare(name, options, folder))
    return metrics


# The data.


def read_sources(data: Path) -> dict[str, list[list[Figures]]]:
    """All conversations of the folder by source, each as messages."""
    folder = data / "sft"
    tatoeba = (line.rstrip("\n").split("\t")[:2] for line in (folder / "tatoeba_cmn_eng.txt").open(encoding="utf-8"))
    seeds = (json.loads(line) for line in (folder / "self_instruct_seed.jsonl").open(encoding="utf-8"))
    problems = (json.loads(line) for line in (folder / "gsm8k_train.jsonl").open(encoding="utf-8"))
    return {
        "alpaca_en": list(_instructions(folder / "alpaca_en_demo.json")),
        "alpaca_zh": list(_instructions(folder / "alpaca_zh_demo.json")),
        "roleplay": list(_instructions(folder / "gpteacher_roleplay.json")),
        "identity": list(_instructions(folder / "identity.json")),
        "self_instruct": [_instruction({**seed, **seed["instances"][0]}) for seed in seeds],
        "gsm8k": [_messages(item["question"], item["answer"]) for item in problems],
        "tatoeba": [_messages(f"Translate into Chinese.\n\n{english}", chinese) for english, chinese in tatoeba],
    }


def _instructions(path: Path) -> Iterator[list[Figures]]:
    yield from map(_instruction, json.loads(path.read_text(encoding="utf-8")))


def _instruction(item: Figures) -> list[Figures]:
    question = f"{item['instruction']}\n\n{item['input']}" if item["input"] else item["instruction"]
    return _messages(question, item["output"])


def _messages(question: str, answered: str) -> list[Figures]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answered}]


def write_sample(sources: dict[str, list[list[Figures]]], path: Path) -> None:
    """The conversations that both sides train on, shuffled."""
    rng = random.Random(0)
    sample = [talk for name, count in SAMPLE.items() for talk in rng.sample(sources[name], count)]
    rng.shuffle(sample)
    _write_jsonl(path, sample)


def _write_jsonl(path: Path, talks: list[list[Figures]]) -> None:
    path.write_text("".join(json.dumps({"messages": talk}, ensure_ascii=False) + "\n" for talk in talks))


def prepare(folder: Path, model: Path, inputs: dict[str, Path]) -> None:
    """`redone prepare-sft` to FOLDER/prepared/NAME."""
    sources = ", ".join(f"{{name: {name}, input: [{path}]}}" for name, path in inputs.items())
    keys = [f"sources=[{sources}]", f"output_dir={folder}/prepared", f"tokenizer.path={model}", "overwrite=true"]
    command = [sys.executable, "-m", "megatron_redone", "prepare-sft", *keys]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def packing_figures(sources: dict[str, list[list[Figures]]], model: Path, folder: Path) -> dict[str, float]:
    """How full the rows of all sources are, and how long a million lengths take."""
    import numpy as np

    from megatron_redone.config.data import BlendSource
    from megatron_redone.config.sft_data import SftDataConfig
    from megatron_redone.datasets.packed_rows import open_packed_blend
    from megatron_redone.datasets.packing import pack
    from megatron_redone.formats.conversations import ConversationDataset

    every = folder / "all"
    every.mkdir()
    for name, talks in sources.items():
        _write_jsonl(every / f"{name}.jsonl", talks)
    prepare(every, model, {name: every / f"{name}.jsonl" for name in sources})
    prefixes = [str(every / "prepared" / name) for name in sources]
    blend = [BlendSource(path=prefix) for prefix in prefixes]
    packed = open_packed_blend(SftDataConfig(blend=blend, seq_length=EFFICIENCY_LENGTH)).streams
    used = sum(rows.efficiency * rows.samples_per_epoch for rows in packed)
    lengths = np.concatenate([np.asarray(ConversationDataset.open(prefix).lengths) for prefix in prefixes])
    drawn = np.random.default_rng(0).choice(np.minimum(lengths, EFFICIENCY_LENGTH), MILLION)
    begin = time.perf_counter()
    pack(drawn, EFFICIENCY_LENGTH)
    return {
        "packing_efficiency": used / sum(rows.samples_per_epoch for rows in packed),
        "packing_efficiency_least": min(rows.efficiency for rows in packed),
        "packing_efficiency_greatest": max(rows.efficiency for rows in packed),
        "packed_conversations": float(sum(rows.conversations for rows in packed)),
        "pack_million_s": time.perf_counter() - begin,
    }


# The sides.


def compare(name: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Ours against one side of TRL, in turns."""
    sides = [start_side(side, name, options, folder) for side in ("ours", name)]
    difference = loss_difference(*sides)
    answers = take_turns(sides, options.turns, options.warmup)
    for side in sides:
        stop(side)
    speeds = {side: [turn["tokens"] / turn["seconds"] for turn in answers[side]] for side in answers}
    ratios = [ours / theirs for ours, theirs in zip(speeds["ours"], speeds[name], strict=True)]
    speed, cpu_speed = (
        {side: _total(answers[side], "tokens") / _total(answers[side], time) for side in answers}
        for time in ("seconds", "cpu_seconds")
    )
    return {
        f"tokens_ratio_vs_trl_{name}": speed["ours"] / speed[name],
        f"tokens_ratio_vs_trl_{name}_median": statistics.median(ratios),
        f"tokens_ratio_vs_trl_{name}_least": min(ratios),
        f"tokens_ratio_vs_trl_{name}_greatest": max(ratios),
        f"cpu_time_ratio_vs_trl_{name}": cpu_speed["ours"] / cpu_speed[name],
        f"tokens_per_second_trl_{name}": speed[name],
        f"tokens_per_second_ours_beside_{name}": speed["ours"],
        f"peak_memory_mb_trl_{name}": answers[name][-1]["peak_mb"],
        f"peak_memory_mb_ours_beside_{name}": answers["ours"][-1]["peak_mb"],
        f"loss_difference_{name}": difference,
    }


def _total(answers: list[Figures], figure: str) -> float:
    return sum(turn[figure] for turn in answers)


def start_side(side: str, beside: str, options: argparse.Namespace, folder: Path) -> Side:
    """A process of one side."""
    command = ["-W", "ignore", __file__, "--side", side, "--folder", str(folder), "--model", str(options.model)]
    command += ["--data", str(options.data), "--threads", str(options.threads), "--seq-length", str(options.seq_length)]
    command += ["--steps-of-a-turn", str(STEPS_OF_OUR_TURN[beside])]
    return start(side, command, options.threads, folder / f"{side}.log")


def loss_difference(ours: Side, theirs: Side) -> float:
    """How far both sides' losses on the same conversations differ, relatively.

    Raises:
        SystemExit: they do not train on the same tokens, or do not agree.
    """
    print(f"ours: {ours.ready}\n{theirs.name}: {theirs.ready}", file=sys.stderr)
    for count in ("conversations", "assistant_tokens", "checked_tokens"):
        if ours.ready[count] != theirs.ready[count]:
            raise SystemExit(f"{count}: ours has {ours.ready[count]}, {theirs.name} {theirs.ready[count]}")
    difference = abs(ours.ready["loss"] / theirs.ready["loss"] - 1)
    if difference > LOSS_TOLERANCE:
        raise SystemExit(f"losses before training differ: {ours.ready['loss']} and {theirs.ready['loss']}")
    return difference


def serve(options: argparse.Namespace) -> None:
    """The life of one side's process."""
    import torch

    channel = open_channel()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.side == "ours":
        serve_ours(options, channel)
    else:
        serve_trl(options, channel)


def serve_ours(options: argparse.Namespace, channel: TextIO) -> None:
    """This project's training, put together as `redone sft` does."""
    from megatron_redone.config.data import BlendSource
    from megatron_redone.config.parallel import ParallelConfig
    from megatron_redone.config.sft_data import SftDataConfig
    from megatron_redone.datasets.batch_reader import BatchReader
    from megatron_redone.datasets.batch_slice import BatchSlice
    from megatron_redone.datasets.packed_rows import open_packed_blend, packed_collate
    from megatron_redone.formats.conversations import ConversationDataset

    prefix = f"{options.folder}/prepared/sample"
    config = SftDataConfig(blend=[BlendSource(path=prefix)], seq_length=options.seq_length)
    blend, dataset = open_packed_blend(config), ConversationDataset.open(prefix)
    # As many conversations a step as TRL's padded batches have.
    rows = max(1, round(CONVERSATIONS_OF_A_STEP * blend.samples_per_epoch / len(dataset)))
    batch_slice = BatchSlice(global_batch_size=rows, micro_batch_size=1)
    reader = BatchReader(blend, batch_slice, packed_collate(ParallelConfig()))
    step, evaluate = our_trainer(options.model)
    counts = {"conversations": len(dataset), "assistant_tokens": dataset.manifest["counts"]["trained_tokens"]}
    answer(channel, {**counts, **evaluate(dataset)})
    consumed = 0
    for _ in turns():
        batches = [reader.read(consumed + number * rows).micro_batches for number in range(options.steps_of_a_turn)]
        consumed += rows * len(batches)
        tokens = sum(int(rows.loss_mask.sum()) for batch in batches for rows in batch)
        watch = Stopwatch()
        losses = [step(batch) for batch in batches]
        answer(channel, {**watch.read(), "tokens": tokens, "loss": losses[-1]})


def our_trainer(model: Path) -> tuple[Callable[[Any], float], Callable[[Any], Figures]]:
    """One optimizer step over micro-batches, and the loss of the first conversations."""
    from megatron_redone.architectures import read_architecture
    from megatron_redone.config.model import Backend, ModelConfig, Precision
    from megatron_redone.config.optimizer import OptimizerConfig
    from megatron_redone.config.parallel import Device, ParallelConfig
    from megatron_redone.datasets.packed_rows import packed_rows
    from megatron_redone.distributed import start_context
    from megatron_redone.models.build import build_model
    from megatron_redone.models.wrapping import wrap_data_parallel
    from megatron_redone.objectives.language_modelling import LanguageModelling
    from megatron_redone.training.initial_weights import find_initial_weights
    from megatron_redone.training.optimizer import build_optimizer
    from megatron_redone.training.train_step import evaluate_step, train_step

    context = start_context(ParallelConfig(), Device.cpu)
    compute = ModelConfig(precision=Precision.fp32, backend=Backend.torch)
    built = build_model(read_architecture(model / "config.json"), compute, context)
    find_initial_weights(str(model)).fill(built)
    chunks = wrap_data_parallel(built)
    adam = OptimizerConfig(lr=LR, weight_decay=0.0, clip_grad=CLIP, adam_beta1=BETAS[0], adam_beta2=BETAS[1],
                           adam_eps=EPS)  # fmt: skip
    optimizer, objective = build_optimizer(chunks, adam), LanguageModelling(built.row_placer)

    def evaluate(dataset: Any) -> Figures:
        row = [(dataset.tokens(number), dataset.loss_mask(number)) for number in range(CHECKED)]
        batch = packed_rows([row], sum(len(tokens) - 1 for tokens, _ in row))
        metrics, terms = evaluate_step(chunks, objective, [batch])
        return {"loss": metrics["loss"], "checked_tokens": int(terms["loss"])}

    return lambda batches: train_step(chunks, optimizer, objective, batches).loss, evaluate


def serve_trl(options: argparse.Namespace, channel: TextIO) -> None:
    """TRL's trainer; the model is read, the data tokenized and packed by TRL itself."""
    from datasets import load_dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from tools.benchmarks.trl_turns import Turns

    template = options.folder / "marked.jinja"
    template.write_text(smollm2_shapes.MARKED_CHAT_TEMPLATE)
    settings = SFTConfig(
        output_dir=str(options.folder / "trl"),
        assistant_only_loss=True,
        chat_template_path=str(template),
        max_length=options.seq_length,
        bf16=False,
        model_init_kwargs={"dtype": "float32"},
        use_cpu=True,
        max_steps=10_000,  # the end comes when no more turns are asked for
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **TRL_SIDES[options.side],
    )
    talks: Any = load_dataset("json", data_files=str(options.folder / "conversations.jsonl"), split="train",
                              cache_dir=str(options.folder / "cache"))  # fmt: skip
    trainer = SFTTrainer(str(options.model), settings, train_dataset=talks)
    learned = sum(sum(label != -100 for label in row) for row in trainer.train_dataset["labels"])  # type: ignore[index]
    answer(channel, {"conversations": len(talks), "assistant_tokens": learned, **trl_loss(trainer, talks)})
    Turns(channel, trainer, "tokens", learned_labels)
    trainer.train()


def learned_labels(inputs: Figures) -> int:
    """Labels of a batch of TRL's that count."""
    return int((inputs["labels"] != -100).sum())


def trl_loss(trainer: Any, talks: Any) -> Figures:
    """The loss of the first conversations, prepared, packed and collated as the trainer's own batches are."""
    import torch

    settings, tokenizer = trainer.args, trainer.processing_class
    rows = trainer._prepare_dataset(talks.select(range(CHECKED)), tokenizer, settings, settings.packing, None, "check")
    inputs = trainer.data_collator(list(rows))
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, inputs)
    return {"loss": float(loss), "checked_tokens": learned_labels(inputs)}


if __name__ == "__main__":
    main()
