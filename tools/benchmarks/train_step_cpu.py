"""One training step on CPU, ours against Hugging Face transformers with torch's AdamW, side by side.

    python tools/benchmarks/train_step_cpu.py --threads 2

Both sides run forward, backward, clipping and the optimizer's step in fp32 on the same architecture,
batch and number of threads, each in a process of its own, which gives its peak memory. The two processes
take turns of a few seconds: what else the machine does hits both.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Behind the standard library: a script in this folder hides the module `tokenize` that torch needs.
HERE = str(Path(__file__).parent)
sys.path[:] = [*(path for path in sys.path if path != HERE), HERE]

from recording import record

COMMON = {"model_type": "llama", "max_position_embeddings": 2048, "rms_norm_eps": 1e-5}
MODELS = {
    # The shapes of HuggingFaceTB/SmolLM2-135M.
    "135m": {
        **{"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
        **{"intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": True, **COMMON},
    },
    "tiny": {
        **{"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2},
        **{"intermediate_size": 688, "vocab_size": 8192, "tie_word_embeddings": True, **COMMON},
    },
}
STEPS_OF_A_TURN = {"135m": 1, "tiny": 10}
SIDES = ("ours", "transformers")
LR, BETAS, EPS, WEIGHT_DECAY, CLIP = 1e-4, (0.9, 0.95), 1e-8, 0.1, 1.0


def main() -> None:
    """Measures, prints, and writes the result file."""
    options = parse_options()
    if options.side:
        serve(options)
        return
    metrics: dict[str, float] = {}
    for model in MODELS:
        metrics.update(compare(model, options))
    notes = (
        f"fp32, {options.rows} x {options.length} tokens a step, {options.threads} threads; ratios are medians over "
        f"{options.steps} pairs of turns, greater than 1 where ours is faster; cpu_time is what the kernel charged, "
        "which other processes hardly change; memory is the peak of each side's process, imports included, less than "
        f"1 where ours needs less. {options.notes}"
    )
    record("train_step_cpu", metrics, ("megatron_redone", "megatron-core", "torch", "transformers"), notes.strip())


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--steps", type=int, default=9, help="timed turns of each side")
    parser.add_argument("--warmup", type=int, default=2, help="turns before them")
    parser.add_argument("--notes", default="", help="added to the result, for example that the machine was busy")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=MODELS, help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(model: str, options: argparse.Namespace) -> dict[str, float]:
    """Runs both sides in turns; ratios are ours over theirs."""
    workers = {side: start(side, model, options) for side in SIDES}
    answers: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.warmup + options.steps):
        # Who goes first changes, so that neither always runs on the other's leftovers.
        for side in SIDES if number % 2 else reversed(SIDES):
            answers[side].append(ask(workers[side]))
            print(f"{model} {side} step {number}: {answers[side][-1]}", file=sys.stderr)
    for worker in workers.values():
        worker.communicate()
    seconds = {side: [answer["seconds"] for answer in answers[side][options.warmup :]] for side in SIDES}
    memory = {side: answers[side][-1]["peak_mb"] for side in SIDES}
    ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["transformers"], strict=True)]
    cpu = {side: statistics.median(a["cpu_seconds"] for a in answers[side][options.warmup :]) for side in SIDES}
    tokens = options.rows * options.length * STEPS_OF_A_TURN[model]
    metrics = {
        f"tokens_ratio_vs_transformers_{model}": statistics.median(ratios),
        f"tokens_ratio_least_{model}": min(ratios),
        f"tokens_ratio_greatest_{model}": max(ratios),
        f"cpu_time_ratio_{model}": cpu["transformers"] / cpu["ours"],
        f"memory_ratio_{model}": memory["ours"] / memory["transformers"],
    }
    for side in SIDES:
        metrics[f"tokens_per_second_{side}_{model}"] = tokens / statistics.median(seconds[side])
        metrics[f"peak_memory_mb_{side}_{model}"] = memory[side]
    return metrics


def start(side: str, model: str, options: argparse.Namespace) -> subprocess.Popen[str]:
    """A process of one side; it takes a step for every line it reads."""
    command = [sys.executable, "-W", "ignore", __file__, "--side", side, "--model", model]
    command += ["--threads", str(options.threads), "--rows", str(options.rows), "--length", str(options.length)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    pipe = subprocess.PIPE
    worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert worker.stdout is not None and worker.stdout.readline() == "ready\n", f"{side} did not start"
    return worker


def ask(worker: subprocess.Popen[str]) -> dict[str, float]:
    """Has a process take one step."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("step\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def serve(options: argparse.Namespace) -> None:
    """The life of one side's process."""
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keys = MODELS[options.model]
    text = torch.randint(0, keys["vocab_size"], (options.rows, options.length + 1))
    step = (ours if options.side == "ours" else transformers_side)(keys, text)
    print("ready", flush=True)
    for _ in sys.stdin:
        loss = 0.0
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for _ in range(STEPS_OF_A_TURN[options.model]):
            loss = step()
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "loss": loss, "peak_mb": peak}), flush=True)


def ours(keys: dict[str, Any], text: Any) -> Callable[[], float]:
    """This project's step, in a run of one process."""
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
    from megatron_redone.training.optimizer import build_optimizer
    from megatron_redone.training.train_step import train_step

    context = start_context(ParallelConfig(), Device.cpu)
    compute = ModelConfig(hf_config="none", precision=Precision.fp32, backend=Backend.torch)
    model = build_model(parse_architecture(keys), compute, context)
    chunks = wrap_data_parallel(model)
    adam = OptimizerConfig(
        lr=LR, weight_decay=WEIGHT_DECAY, clip_grad=CLIP, adam_beta1=BETAS[0], adam_beta2=BETAS[1], adam_eps=EPS
    )
    optimizer = build_optimizer(chunks, adam)
    rows, length = text.shape[0], text.shape[1] - 1
    batch = MicroBatch(
        tokens=text[:, :-1].contiguous(),
        labels=text[:, 1:].contiguous(),
        loss_mask=torch.ones(rows, length),
        position_ids=torch.arange(length).repeat(rows, 1),
    )
    objective = LanguageModelling(model.row_placer)
    return lambda: train_step(chunks, optimizer, objective, [batch]).loss


def transformers_side(keys: dict[str, Any], text: Any) -> Callable[[], float]:
    """What a careful user of transformers would write."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**keys, attention_bias=False)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float().train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY, fused=True
    )

    def step() -> float:
        optimizer.zero_grad()
        # The labels are shifted already: the same number of losses on both sides.
        loss = model(input_ids=text[:, :-1], shift_labels=text[:, 1:].contiguous(), labels=text[:, 1:]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
