"""Preference optimisation on CPU, ours against TRL's DPOTrainer: the same losses, and pairs per second side by side.

    python tools/benchmarks/dpo_vs_trl.py --data DIR [--model DIR] [--turns 3]

DIR of --data holds `dpo/hh_rlhf_harmless_a.jsonl`, as its authors publish it. Both sides take optimizer steps over
the same pairs in the same order, in fp32, with the same loss, optimizer and number of threads, each in a process of
its own. First 20 small steps: their losses are compared. Then steps of 8 pairs, which is TRL's default: their
time, that of the reference model included, and their memory. TRL is measured

- as it comes: a reference model that runs in every step, gradient checkpointing, padded batches;
- as a careful user would set it for this model: reference scored before, no gradient checkpointing, two pairs at
  once. Our side is measured with and without the prompt of a pair computed once (`share_prompt`).
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from tools.benchmarks import hh_rlhf, smollm2_shapes
from tools.benchmarks.recording import record
from tools.benchmarks.side_by_side import Figures, Side, Stopwatch, answer, open_channel, start, stop, take_turns, turns

# What is set beyond the sizes that are the same on all sides; {} is TRL as it comes.
TRL_SIDES: dict[str, dict[str, Any]] = {
    "trl": {},
    "trl_tuned": {"precompute_ref_log_probs": True, "gradient_checkpointing": False},
}
PAIRS_AT_ONCE = {"trl_tuned": 2}  # less than a step's; the rest is gradient accumulation
OUR_SIDES = {"ours": False, "ours_shared": True}  # share_prompt
BETA, LR, BETAS, EPS, CLIP = 0.1, 1e-5, (0.9, 0.999), 1e-8, 1.0
SEQ_LENGTH = 1024
LOSS_STEPS, LOSS_BATCH, LOSS_CHARACTERS = 20, 2, 1200
SPEED_BATCH, SPEED_CHARACTERS = 8, 3000  # TRL's per_device_train_batch_size; pairs that fit SEQ_LENGTH


def main() -> None:
    """Measures, prints, and writes the result file."""
    options = parse_options()
    if options.side:
        serve(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        metrics = measure(options, Path(folder))
    notes = (
        f"fp32, {options.threads} threads, pairs of hh-rlhf (harmless), beta {BETA}, AdamW with learning rate {LR}. "
        f"loss_max_rel_diff: of the first {LOSS_STEPS} steps of {LOSS_BATCH} pairs. pairs_ratio: pairs per second, "
        f"ours over TRL's, of all {options.turns} steps of {SPEED_BATCH} pairs together, reference scoring counted on "
        "both sides (least and greatest: of one pair of turns), greater than 1 where ours is faster; "
        "cpu_time_ratio: the same of what the kernel charged. memory_ratio: "
        "peaks of the processes, ours over TRL's, less than 1 where ours needs less. shared: our share_prompt. tuned: "
        "TRL with precompute_ref_log_probs, no gradient checkpointing, 2 pairs at once. Both sides render with "
        f"SmolLM2's template without the line break behind the last turn, which TRL would train on, and "
        f"train the embedding of the token that pads. {options.notes}"
    )
    packages = ("megatron_redone", "megatron-core", "torch", "transformers", "trl", "accelerate")
    record(options.name, metrics, packages, notes.strip())


def parse_options() -> argparse.Namespace:
    """The command line."""
    sides = (*OUR_SIDES, *TRL_SIDES)
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of public data sets that holds dpo/")
    parser.add_argument("--model", type=Path, help="SmolLM2-135M-Instruct; left out: its shapes, random weights")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--turns", type=int, default=3, help="timed steps of each side")
    parser.add_argument("--warmup", type=int, default=1, help="steps before them")
    parser.add_argument("--against", nargs="+", choices=TRL_SIDES, default=list(TRL_SIDES))
    parser.add_argument("--notes", default="", help="added to the result, for example that the machine was busy")
    parser.add_argument("--name", default="dpo_vs_trl", help="of the result file")
    parser.add_argument("--side", choices=sides, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=SPEED_BATCH, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Prepares the data and runs both parts."""
    pairs = list(hh_rlhf.read(options.data / "dpo" / "hh_rlhf_harmless_a.jsonl"))
    if options.model is None:
        texts = (message["content"] for pair in pairs for side in pair.values() for message in side)
        options.model = smollm2_shapes.write(folder / "model", texts)
    options.model = without_padding_token(options.model, folder / "model_without_padding")
    speed_pairs = SPEED_BATCH * (options.warmup + options.turns)
    prepare(pairs, LOSS_CHARACTERS, LOSS_STEPS * LOSS_BATCH, options.model, folder / "losses")
    prepare(pairs, SPEED_CHARACTERS, speed_pairs, options.model, folder / "speed")
    metrics = compare_losses(options, folder / "losses")
    for theirs in options.against:
        # Sharing prompts is measured once, and never more than three models are in memory.
        ours = list(OUR_SIDES) if theirs == "trl" else ["ours"]
        metrics.update(compare_speed(ours, theirs, options, folder / "speed"))
    return metrics


# The model and the data.


def without_padding_token(model: Path, folder: Path) -> Path:
    """The same model for both sides to train alike, in a folder of links.

    transformers gives the padding token's embedding no gradient, and SmolLM2 pads with the token that ends turns.
    """
    folder.mkdir()
    for file in model.resolve().iterdir():
        (folder / file.name).symlink_to(file)
    config = folder / "config.json"
    keys = json.loads(config.read_text())
    config.unlink()
    config.write_text(json.dumps({**keys, "pad_token_id": None}))
    return folder


def prepare(pairs: list[Figures], characters: int, count: int, model: Path, folder: Path) -> None:
    """The first pairs of at most so many characters, for TRL and, by `redone prepare-preferences`, for us."""
    folder.mkdir()
    hh_rlhf.write(pairs, characters, count, folder / "pairs.jsonl")
    template = folder / "template.jinja"
    template.write_text(smollm2_shapes.CHAT_TEMPLATE_WITHOUT_END)
    keys = [f"sources=[{{name: pairs, input: [{folder}/pairs.jsonl]}}]", f"output_dir={folder}/prepared"]
    keys += [f"tokenizer.path={model}", f"chat_template={template}", "max_invalid=0"]
    command = [sys.executable, "-m", "megatron_redone", "prepare-preferences", *keys]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


# The comparisons.


def compare_losses(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """The losses of the first steps of both sides, which need no turns but take them."""
    sides = [start_side(name, LOSS_BATCH, options, folder) for name in ("ours", "trl")]
    check_pairs(*sides)
    answers = take_turns(sides, LOSS_STEPS, 0)
    for side in sides:
        stop(side)
    losses = [(o["loss"], t["loss"]) for o, t in zip(answers["ours"], answers["trl"], strict=True)]
    return {
        "loss_max_rel_diff": max(abs(ours / theirs - 1) for ours, theirs in losses),
        "loss_first_step": losses[0][0],
        "loss_least": min(ours for ours, _ in losses),
        "loss_greatest": max(ours for ours, _ in losses),
        "loss_steps": float(LOSS_STEPS),
    }


def compare_speed(ours: list[str], theirs: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Our sides against one of TRL, in turns."""
    sides = [start_side(name, SPEED_BATCH, options, folder) for name in (*ours, theirs)]
    for side in sides[:-1]:
        check_pairs(side, sides[-1])
    answers = take_turns(sides, options.turns, options.warmup)
    for side in sides:
        stop(side)
    seconds, cpu_seconds = ({side.name: _with_scoring(side, answers[side.name], time) for side in sides}
                            for time in ("seconds", "cpu_seconds"))  # fmt: skip
    speed = {name: sum(a["pairs"] for a in answers[name]) / sum(seconds[name]) for name in answers}
    peak = {name: answers[name][-1]["peak_mb"] for name in answers}
    metrics = {f"pairs_per_second_{theirs}": speed[theirs], f"peak_memory_mb_{theirs}": peak[theirs]}
    for name in ours:
        ratios = [trl / our for our, trl in zip(seconds[name], seconds[theirs], strict=True)]
        what = f"vs_{theirs}" + name.removeprefix("ours")
        metrics.update({
            f"pairs_ratio_{what}": speed[name] / speed[theirs],
            f"pairs_ratio_{what}_median": statistics.median(ratios),
            f"pairs_ratio_{what}_least": min(ratios),
            f"pairs_ratio_{what}_greatest": max(ratios),
            f"cpu_time_ratio_{what}": sum(cpu_seconds[theirs]) / sum(cpu_seconds[name]),
            f"memory_ratio_{what}": peak[name] / peak[theirs],
            f"pairs_per_second_{name}_beside_{theirs}": speed[name],
            f"peak_memory_mb_{name}_beside_{theirs}": peak[name],
        })  # fmt: skip
    return metrics


def _with_scoring(side: Side, answers: list[Figures], time: str) -> list[float]:
    """What each turn took, with its pairs' part of the time that the reference took before."""
    scoring = side.ready["scoring"][time] / side.ready["pairs"]
    return [figures[time] + scoring * figures["pairs"] for figures in answers]


def check_pairs(ours: Side, theirs: Side) -> None:
    """Refuses to compare sides that do not train on the same tokens.

    Raises:
        SystemExit: a count differs.
    """
    print(f"{ours.name}: {ours.ready}\n{theirs.name}: {theirs.ready}", file=sys.stderr)
    for count in ("pairs", "tokens", "response_tokens"):
        if ours.ready[count] != theirs.ready[count]:
            raise SystemExit(f"{count}: {ours.name} has {ours.ready[count]}, {theirs.name} {theirs.ready[count]}")


# The sides.


def start_side(name: str, batch: int, options: argparse.Namespace, folder: Path) -> Side:
    """A process of one side."""
    command = ["-W", "ignore", __file__, "--side", name, "--folder", str(folder), "--model", str(options.model)]
    command += ["--data", str(options.data), "--threads", str(options.threads), "--batch", str(batch)]
    return start(name, command, options.threads, folder / f"{name}.log")


def serve(options: argparse.Namespace) -> None:
    """The life of one side's process."""
    import torch

    channel = open_channel()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.side in OUR_SIDES:
        serve_ours(options, channel)
    else:
        serve_trl(options, channel)


def serve_ours(options: argparse.Namespace, channel: TextIO) -> None:
    """This project's scoring and training, put together as `redone score-reference` and `redone dpo` do."""
    from megatron_redone.config.data import BlendSource
    from megatron_redone.config.parallel import ParallelConfig
    from megatron_redone.datasets.batch_reader import BatchReader
    from megatron_redone.datasets.batch_slice import BatchSlice
    from megatron_redone.datasets.blend import Blend
    from megatron_redone.datasets.pair_rows import RowPlan
    from megatron_redone.datasets.preference_pairs import PairStream
    from megatron_redone.formats.preferences import PreferenceDataset
    from megatron_redone.formats.reference_scores import ReferenceScores

    prefix, share = f"{options.folder}/prepared/pairs", OUR_SIDES[options.side]
    batch_slice = BatchSlice(global_batch_size=options.batch, micro_batch_size=1)
    plan, dataset = RowPlan(SEQ_LENGTH, ParallelConfig()), PreferenceDataset.open(prefix)
    score, trainer = our_model(options.model)
    unscored = PairStream(prefix, seq_length=SEQ_LENGTH, share_prompt=share)
    batches = list(plan([(unscored, number) for number in range(dataset.pairs)], batch_slice))
    watch = Stopwatch()
    sums, lengths = score(batches, dataset.pairs)
    scoring = watch.read()
    scores = ReferenceScores(data=unscored.digest, model="", done=dataset.pairs, sums=sums, lengths=lengths)
    stream = PairStream(prefix, seq_length=SEQ_LENGTH, share_prompt=share, reference=scores)
    assert stream.dropped == 0, "a pair is longer than a row"
    blend = Blend([BlendSource(path=prefix)], [stream])
    reader, step = BatchReader(blend, batch_slice, plan), trainer()
    counts = {"tokens": int(dataset.lengths.sum()), "response_tokens": int(lengths.sum())}
    answer(channel, {"pairs": dataset.pairs, **counts, "scoring": scoring})
    for number, _ in enumerate(turns()):
        batches = reader.read(number * options.batch).micro_batches
        watch = Stopwatch()
        loss = step(batches)
        answer(channel, {**watch.read(), "pairs": options.batch, "loss": loss})


def our_model(model: Path) -> tuple[Callable[..., Any], Callable[[], Callable[[Any], float]]]:
    """What scores pairs by the weights as they are, and what makes of the same weights a trainer."""
    from megatron_redone.architectures import read_architecture
    from megatron_redone.config.model import Backend, ModelConfig, Precision
    from megatron_redone.config.optimizer import OptimizerConfig
    from megatron_redone.config.parallel import Device, ParallelConfig
    from megatron_redone.config.preference import PreferenceLossConfig
    from megatron_redone.distributed import start_context
    from megatron_redone.models.build import build_model
    from megatron_redone.models.wrapping import wrap_data_parallel
    from megatron_redone.objectives.preference import PreferenceObjective
    from megatron_redone.objectives.response_scores import score_pairs
    from megatron_redone.training.initial_weights import find_initial_weights
    from megatron_redone.training.optimizer import build_optimizer
    from megatron_redone.training.train_step import train_step

    context = start_context(ParallelConfig(), Device.cpu)
    compute = ModelConfig(precision=Precision.fp32, backend=Backend.torch)
    built = build_model(read_architecture(model / "config.json"), compute, context)
    find_initial_weights(str(model)).fill(built)

    def score(batches: Any, pairs: int) -> tuple[Any, Any]:
        for chunk in built.chunks:
            chunk.eval()
        sums, lengths = score_pairs(built.chunks, built.row_placer, batches, 0, pairs)
        return sums.numpy(), lengths.numpy()

    def trainer() -> Callable[[Any], float]:
        for chunk in built.chunks:
            chunk.train()
        chunks = wrap_data_parallel(built)
        adam = OptimizerConfig(lr=LR, weight_decay=0.0, clip_grad=CLIP, adam_beta1=BETAS[0], adam_beta2=BETAS[1],
                               adam_eps=EPS)  # fmt: skip
        optimizer = build_optimizer(chunks, adam)
        objective = PreferenceObjective(PreferenceLossConfig(beta=BETA), built.row_placer)
        return lambda batches: train_step(chunks, optimizer, objective, batches).loss

    return score, trainer


def serve_trl(options: argparse.Namespace, channel: TextIO) -> None:
    """TRL's trainer; the models are read and the data tokenized by TRL itself."""
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from tools.benchmarks.trl_turns import Turns

    batch: int = options.batch
    at_once = PAIRS_AT_ONCE.get(options.side, batch)
    settings = DPOConfig(
        output_dir=str(options.folder / "trl"),
        beta=BETA,
        learning_rate=LR,
        lr_scheduler_type="constant",
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=batch // at_once,
        train_sampling_strategy="sequential",
        max_length=SEQ_LENGTH,
        bf16=False,
        model_init_kwargs={"dtype": "float32"},
        use_cpu=True,
        num_train_epochs=100,  # the end comes when no more turns are asked for
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **TRL_SIDES[options.side],
    )
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    tokenizer.chat_template = (options.folder / "template.jinja").read_text()
    pairs: Any = load_dataset("json", data_files=str(options.folder / "pairs.jsonl"), split="train",
                              cache_dir=str(options.folder / "cache"))  # fmt: skip
    scoring = time_of(DPOTrainer, "_precompute_ref_logps")
    trainer = DPOTrainer(str(options.model), args=settings, train_dataset=pairs, processing_class=tokenizer)
    rows: Any = trainer.train_dataset
    prompts, responses = (sum(len(row) for name in names for row in rows[name])
                          for names in (["prompt_ids"] * 2, ["chosen_ids", "rejected_ids"]))  # fmt: skip
    counts = {"tokens": prompts + responses, "response_tokens": responses}
    answer(channel, {"pairs": len(rows), **counts, "scoring": scoring})
    Turns(channel, trainer, "pairs", lambda inputs: len(inputs["input_ids"]) // 2)
    trainer.train()


def time_of(owner: Any, method: str) -> dict[str, float]:
    """Adds up what later calls of a method take."""
    total = {"seconds": 0.0, "cpu_seconds": 0.0}
    called = getattr(owner, method)

    def timed(*arguments: Any) -> Any:
        watch = Stopwatch()
        result = called(*arguments)
        total.update({name: total[name] + value for name, value in watch.read().items()})
        return result

    setattr(owner, method, timed)
    return total


if __name__ == "__main__":
    main()
