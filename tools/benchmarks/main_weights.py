"""What dithered main weights and stochastic rounding cost: a training step on CPU, and the start of a rank of 7 B.

    python tools/benchmarks/main_weights.py --threads 2

Steps are those of SmolLM2-135M's shapes in bf16 with random weights, in three processes that take turns. The start is
that of one rank of Qwen2.5-7B's shapes at tensor 2 x data 4: its ranges of all weights, one weight in memory at a time.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

# Behind the standard library: a script in this folder hides the module `tokenize` that torch needs.
HERE = str(Path(__file__).parent)
sys.path[:] = [*(path for path in sys.path if path != HERE), HERE]

from recording import record
from side_by_side import Stopwatch, answer, open_channel, start, stop, take_turns, turns

SIDES = ("nearest", "dithered", "stochastic")
SMALL = {
    **{"model_type": "llama", "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "tie_word_embeddings": True},
    **{"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
    **{"intermediate_size": 1536, "vocab_size": 49152},
}
LARGE = {
    **{"model_type": "qwen2", "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "tie_word_embeddings": False},
    **{"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
    **{"intermediate_size": 18944, "vocab_size": 152064},
}
TENSOR, DATA = 2, 4


def main() -> None:
    """Measures, prints, and writes the result file."""
    options = parse_options()
    if options.side:
        serve(options)
        return
    from megatron_redone.distributed.bf16_support import bf16_instructions

    metrics = {**start_up(options.threads), **step_times(options)}
    products = bf16_instructions() or "fp32 products that are rounded"
    notes = (
        f"bf16 by {products}, a row of {options.length} tokens, {options.threads} threads; ratios are medians over "
        f"{options.steps} turns of each side, over those of nearest; cpu_ratio is of what the kernel charged, which "
        f"other processes hardly change. {options.notes}"
    )
    record("main_weights", metrics, ("megatron_redone", "megatron-core", "torch"), notes.strip())


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--steps", type=int, default=15, help="timed turns of each side, a step each")
    parser.add_argument("--warmup", type=int, default=2, help="turns before them")
    parser.add_argument("--notes", default="", help="added to the result, for example that the machine was busy")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def step_times(options: argparse.Namespace) -> dict[str, float]:
    """Ratios of the three sides' steps."""
    with tempfile.TemporaryDirectory() as folder:
        keys = ["--threads", str(options.threads), "--length", str(options.length)]
        sides = [start(name, [__file__, "--side", name, *keys], options.threads, Path(folder) / name) for name in SIDES]
        figures = take_turns(sides, options.steps, options.warmup)
        for side in sides:
            stop(side)
    metrics = {f"step_seconds_{name}": statistics.median(turn["seconds"] for turn in figures[name]) for name in SIDES}
    for name in SIDES[1:]:
        for kind, figure in (("step_time_ratio", "seconds"), ("step_cpu_ratio", "cpu_seconds")):
            pairs = zip(figures[name], figures["nearest"], strict=True)
            metrics[f"{kind}_{name}"] = statistics.median(mine[figure] / theirs[figure] for mine, theirs in pairs)
    return metrics


def serve(options: argparse.Namespace) -> None:
    """One side: takes a step in every turn."""
    channel = open_channel()
    import torch
    from bf16_products import fast_products

    torch.set_num_threads(options.threads)
    with fast_products():
        step = _prepare(options)
        answer(channel, {})
        for _ in turns():
            watch = Stopwatch()
            step()
            answer(channel, watch.read())


def _prepare(options: argparse.Namespace) -> Any:
    import torch

    from megatron_redone.architectures import parse_architecture
    from megatron_redone.batches.micro_batch import MicroBatch
    from megatron_redone.config.model import Backend, ModelConfig, Precision
    from megatron_redone.config.optimizer import OptimizerConfig
    from megatron_redone.config.parallel import Device, ParallelConfig
    from megatron_redone.distributed import start_context
    from megatron_redone.models.build import build_model
    from megatron_redone.models.wrapping import wrap_data_parallel
    from megatron_redone.objectives.language_modelling import LanguageModelling
    from megatron_redone.training.dithering import dither_main_weights
    from megatron_redone.training.optimizer import build_optimizer
    from megatron_redone.training.stochastic_copies import round_copies_stochastically
    from megatron_redone.training.train_step import train_step

    context = start_context(ParallelConfig(), Device.cpu)
    compute = ModelConfig(hf_config="none", backend=Backend.torch, precision=Precision.bf16)
    model = build_model(parse_architecture(SMALL), compute, context)
    chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(chunks, OptimizerConfig(lr=1e-6))
    if options.side == "dithered":
        dither_main_weights(model, optimizer, seed=1)
    if options.side == "stochastic":
        round_copies_stochastically(model, optimizer, seed=1)
    text = torch.randint(0, SMALL["vocab_size"], (1, options.length + 1), generator=torch.Generator().manual_seed(1))
    batch = MicroBatch(
        tokens=text[:, :-1].contiguous(),
        labels=text[:, 1:].contiguous(),
        loss_mask=torch.ones(1, options.length),
        position_ids=torch.arange(options.length)[None],
    )
    objective = LanguageModelling(model.row_placer)
    return lambda: train_step(chunks, optimizer, objective, [batch])


def start_up(threads: int) -> dict[str, float]:
    """Seconds that dithering adds to the start of a rank of 7 B, and of how many elements."""
    import logging

    import torch

    from megatron_redone.architectures import parse_architecture
    from megatron_redone.architectures.weights import full_weights
    from megatron_redone.training.dithering import dither_weights

    logging.getLogger("megatron_redone").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    taken: list[dict[str, float]] = []
    elements = 0
    for weight in full_weights(parse_architecture(LARGE)).values():
        held = _held(weight)
        watch = Stopwatch()
        elements += dither_weights([held], seed=1)
        taken.append(watch.read())
    wall, cpu = (sum(each[name] for each in taken) for name in ("seconds", "cpu_seconds"))
    return {"start_up_elements": elements, "start_up_seconds_7b_rank": wall, "start_up_cpu_seconds_7b_rank": cpu}


def _held(weight: Any) -> Any:
    """What the second of the data-parallel ranks of the first tensor-parallel rank holds of a full weight."""
    import torch

    from megatron_redone.models.shards import Shard
    from megatron_redone.training.main_weights import MainWeight

    shape, ranges = list(weight.shape), []
    if weight.split is not None:
        each = weight.shape[weight.split] // weight.blocks // TENSOR
        ranges = [(TENSOR * block * each, (TENSOR * block + 1) * each) for block in range(weight.blocks)]
        shape[weight.split] //= TENSOR
    parameter = torch.nn.Parameter(torch.empty(shape, device="meta"))
    shard = Shard(name=weight.key, parameter=parameter, full_shape=weight.shape, dim=weight.split, ranges=tuple(ranges))
    count = parameter.numel() // DATA
    main = (torch.rand(count) + 0.5).bfloat16().float()
    return MainWeight(shard=shard, first=count, main=main, copy=main)


if __name__ == "__main__":
    main()
