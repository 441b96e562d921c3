"""Convergence under the emulated FP8 recipes, against bf16, on real text.

    python tools/benchmarks/fp8_emulation.py --data DIR [--steps 200]

DIR holds real text (`social_en`, `social_zh`, `general`) and a `tokenizer` directory. Every recipe trains the same
model from the same weights on the same rows, in one process; the losses are those of held-out rows after the last
step.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import itertools
import time
from collections import Counter
from pathlib import Path

import torch

from megatron_redone.architectures import Architecture, parse_architecture
from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.config.fp8 import Fp8Config, Fp8Recipe
from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import ParallelContext, start_context
from megatron_redone.models.build import build_model
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.training.optimizer import build_optimizer, set_learning_rate
from megatron_redone.training.schedule import LearningRate
from megatron_redone.training.train_step import evaluate_step, train_step
from tools.benchmarks import real_text
from tools.benchmarks.recording import record

ROWS, LENGTH, VOCABULARY, HELD_OUT_STEPS, LAST = 8, 128, 8192, 8, 20
RECIPES = (Fp8Recipe.delayed, Fp8Recipe.tensorwise, Fp8Recipe.blockwise)
ARCHITECTURE = {
    **{"model_type": "qwen2", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-6},
    **{"max_position_embeddings": 4096, "rope_theta": 1e6, "tie_word_embeddings": True, "hidden_act": "silu"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the text and a tokenizer")
    parser.add_argument("--steps", type=int, default=200, help="training steps")
    parser.add_argument("--notes", default="", help="added to the result")
    arguments = parser.parse_args()
    rows = text_rows(arguments.data, arguments.steps + HELD_OUT_STEPS)
    context = start_context(ParallelConfig(), Device.cpu)
    shape = parse_architecture(ARCHITECTURE)
    losses = {name: train(name, compute, shape, context, rows) for name, compute in sides().items()}
    metrics: dict[str, float] = {"steps": arguments.steps, "tokens": arguments.steps * ROWS * LENGTH}
    for name, (validation, last) in losses.items():
        metrics |= {f"validation_loss_{name}": validation, f"train_loss_last_{LAST}_{name}": last}
    for recipe in RECIPES:
        validation, last = losses[recipe.value]
        metrics[f"loss_rel_diff_{recipe.value}"] = abs(validation / losses["bf16"][0] - 1)
        metrics[f"train_loss_rel_diff_{recipe.value}"] = abs(last / losses["bf16"][1] - 1)
    notes = (
        "Loss per token (nats) on held-out rows after training from the same random weights on the same rows: 4 layers "
        f"of width 256, {VOCABULARY} ids (the most frequent of a real tokenizer's, the others counted as one), "
        f"{ROWS} x {LENGTH} tokens a step, all layers in FP8. loss_rel_diff_*: relative difference from bf16; "
        f"train_loss_*: the mean of the last {LAST} steps. On a CPU, emulated: nothing here says how fast FP8 is. "
        + arguments.notes
    )
    record("fp8_emulation", metrics, ["torch", "megatron-core"], notes.strip())


def sides() -> dict[str, ModelConfig]:
    """What is compared: bf16, and each recipe."""
    computes = {"bf16": ModelConfig(precision=Precision.bf16, backend=Backend.torch)}
    for recipe in RECIPES:
        fp8 = Fp8Config(recipe=recipe)
        computes[recipe.value] = ModelConfig(precision=Precision.fp8_emulated, backend=Backend.torch, fp8=fp8)
    return computes


def text_rows(data: Path, steps: int) -> list[MicroBatch]:
    """Real text in batches of one step."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(data / "tokenizer" / "tokenizer.json"))
    needed = steps * ROWS * LENGTH + 1
    ids: list[int] = []
    # Every part of the data, text by text: one part alone would be learnt by its form.
    parts = [real_text.documents(data, [part]) for part in ("general", "social_en", "social_zh")]
    for texts in zip(*parts, strict=False):
        ids += itertools.chain.from_iterable(tokenizer.encode(text[:2000] + "\n").ids for text in texts)
        if len(ids) >= needed:
            break
    frequent = [token for token, _ in Counter(ids).most_common(VOCABULARY - 1)]
    numbers = {token: number for number, token in enumerate(frequent)}
    stream = torch.tensor([numbers.get(token, VOCABULARY - 1) for token in ids[:needed]])
    assert len(stream) == needed, "the text is too short for so many steps"
    return cut(stream, ROWS, LENGTH)


def cut(stream: torch.Tensor, rows: int, length: int) -> list[MicroBatch]:
    """A stream of ids int64 [n] as batches of [rows, length], as many as it fills."""
    starts = range(0, len(stream) - rows * length, rows * length)
    return [_batch(stream[start : start + rows * length + 1], rows, length) for start in starts]


def _batch(stream: torch.Tensor, rows: int, length: int) -> MicroBatch:
    return MicroBatch(
        tokens=stream[:-1].view(rows, length),
        labels=stream[1:].view(rows, length),
        loss_mask=torch.ones(rows, length),
        position_ids=torch.arange(length).repeat(rows, 1),
    )


def train(
    name: str, compute: ModelConfig, shape: Architecture, context: ParallelContext, rows: list[MicroBatch]
) -> tuple[float, float]:
    """Loss on the last rows, and the mean loss of the last training steps."""
    begin = time.monotonic()
    model = build_model(shape, compute, context)
    chunks = wrap_data_parallel(model)
    config = OptimizerConfig(lr=2e-3, min_lr=2e-4, warmup_ratio=0.1)
    optimizer, objective = build_optimizer(chunks, config), LanguageModelling(model.row_placer)
    steps = len(rows) - HELD_OUT_STEPS
    schedule, losses = LearningRate(config, steps), []
    for step in range(steps):
        set_learning_rate(optimizer, schedule.at(step))
        losses.append(train_step(chunks, optimizer, objective, [rows[step]]).loss)
    for chunk in chunks:
        chunk.eval()
    metrics, _ = evaluate_step(chunks, objective, rows[steps:])
    print(f"{name}: {losses[0]:.4f} to {metrics['loss']:.4f} in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    last = losses[-LAST:]
    return metrics["loss"], sum(last) / len(last)


if __name__ == "__main__":
    main()
