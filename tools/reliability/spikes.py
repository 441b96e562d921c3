#!/usr/bin/env python3
"""Poisons a step of short runs on real text, and compares the loss at their end to that of a run without poison.

    python tools/reliability/spikes.py --data ../shared/data --results FILE.json

A model of bytes learns posts, with a validation set of other posts. In one step, an early or a late one, its rows are
garbage (bytes drawn evenly, of which most stand in no text), or its gradients are NaN. Each is handled by `skip` and
by `rollback`; `tell`, which trains on garbage all the same, stands beside them. `spike_loss_rel_diff` is the largest
relative difference of the validation loss of those that were handled.
"""

import argparse
import itertools
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from megatron_redone.cli import main as redone
from megatron_redone.formats.indexed import IndexedDatasetWriter
from megatron_redone.training import train_step
from tests.helpers.pretrain_runs import figures, write_model
from tools.benchmarks.real_text import documents
from tools.reliability import forked

STEPS, ROWS, ROW = 200, 16, 64
BAD_STEPS = (70, 150)
REACTIONS = ("skip", "rollback")
_VALIDATION_ROWS = 64
_TOKENS_OF_STEP = ROWS * ROW


def main() -> int:
    """Runs all, writes and prints what came of them; fails where one was not noticed or ended more than 2 % off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="real text, as in tools/benchmarks/real_text.py")
    parser.add_argument("--results", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.data, Path(folder))
    arguments.results.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return 0 if found["spikes_noticed"] == found["spikes_tried"] and found["spike_loss_rel_diff"] <= 0.02 else 1


def measure(data: Path, folder: Path) -> dict[str, float]:
    """The metrics."""
    forked.preload()
    keys = _write_inputs(data, folder)
    undisturbed, _ = _run([*keys, _blend(folder, None)], folder / "undisturbed", nan_at=None)
    handled: dict[str, float] = {}
    metrics, noticed = {"spike_loss_undisturbed": undisturbed}, 0
    for poison, bad_step, reaction in itertools.product(("garbage", "nan"), BAD_STEPS, REACTIONS):
        name = f"{poison}_{bad_step}_{reaction}"
        own = [_blend(folder, bad_step if poison == "garbage" else None)]
        own.append(f"guards.{'on_spike' if poison == 'garbage' else 'on_not_finite'}={reaction}")
        loss, said = _run([*keys, *own], folder / name, nan_at=bad_step if poison == "nan" else None)
        first = ROWS * (bad_step - 1)
        noticed += f"step {bad_step}: " in said and f"in samples {first} to {first + ROWS - 1}: " in said
        handled[name] = _relative(loss, undisturbed)
    for bad_step in BAD_STEPS:
        loss, _ = _run([*keys, _blend(folder, bad_step), "guards.on_spike=tell"], folder / f"tell_{bad_step}", None)
        metrics[f"spike_rel_diff_garbage_{bad_step}_tell"] = _relative(loss, undisturbed)
    return {
        **metrics,
        **{f"spike_rel_diff_{name}": difference for name, difference in handled.items()},
        "spikes_tried": len(handled),
        "spikes_noticed": noticed,
        "spike_loss_rel_diff": max(handled.values()),
    }


def _relative(loss: float, undisturbed: float) -> float:
    return abs(loss - undisturbed) / undisturbed if math.isfinite(loss) else math.inf


def _write_inputs(data: Path, folder: Path) -> list[str]:
    write_model(folder / "model", vocab_size=256, hidden_size=64, intermediate_size=128)
    # A step more than are trained: going back leaves out those of one.
    texts = _byte_stream(documents(data, ("social_en",)))
    steps = list(itertools.islice(texts, STEPS + 10))
    held_out = list(itertools.islice(texts, _VALIDATION_ROWS * ROW // _TOKENS_OF_STEP + 1))
    _write(folder / "clean", steps)
    _write(folder / "held_out", held_out)
    for bad_step in BAD_STEPS:
        garbage = np.random.default_rng(bad_step).integers(0, 256, _TOKENS_OF_STEP)
        _write(folder / f"poisoned_{bad_step}", [*steps[: bad_step - 1], garbage, *steps[bad_step:]])
    return [
        "device=cpu",
        f"model.hf_config={folder}/model",
        "model.precision=fp32",
        f"data.validation=[{{path: {folder}/held_out}}]",
        f"data.validation_samples={_VALIDATION_ROWS}",
        f"data.seq_length={ROW}",
        "data.shuffle=false",
        f"training.global_batch_size={ROWS}",
        f"training.micro_batch_size={ROWS}",
        f"training.train_steps={STEPS}",
        "optimizer.lr=3e-3",
        "metrics.log_interval=1",
        "checkpoint.save_every=20",
        "checkpoint.keep_last=2",
    ]


def _byte_stream(texts: Iterator[str]) -> Iterator[np.ndarray]:
    """The bytes of texts, a newline between them, in pieces of a step."""
    buffer = bytearray()
    for text in texts:
        buffer += text.encode() + b"\n"
        while len(buffer) >= _TOKENS_OF_STEP:
            yield np.frombuffer(bytes(buffer[:_TOKENS_OF_STEP]), np.uint8).astype(np.int64)
            del buffer[:_TOKENS_OF_STEP]


def _write(prefix: Path, steps: list[np.ndarray]) -> None:
    with IndexedDatasetWriter(prefix, np.int32) as writer:
        for tokens in steps:
            writer.add(tokens, np.array([len(tokens)]))
        writer.finish()


def _blend(folder: Path, bad_step: int | None) -> str:
    name = "clean" if bad_step is None else f"poisoned_{bad_step}"
    return f"data.blend=[{{path: {folder}/{name}, weight: 1}}]"


def _run(keys: list[str], output: Path, nan_at: int | None) -> tuple[float, str]:
    """The last validation loss, and what was said."""
    log = output.with_suffix(".log")
    process = ["pretrain", *keys, f"output_dir={output}"]
    ended = forked.wait(forked.start(lambda: _with_nan(nan_at, process), log), log, 600.0)
    assert ended.code == 0, ended.said[-3000:]
    return figures(output, "validation/held_out/loss")[STEPS], ended.said


def _with_nan(step: int | None, arguments: list[str]) -> int | None:
    """A command whose gradients of one step are NaN, the first time that it is made."""
    plain, done = train_step.run_micro_batches, [0]

    def run_micro_batches(chunks: Any, objective: Any, batches: Any, **other: Any) -> Any:
        reports = plain(chunks, objective, batches, **other)
        if not other["forward_only"]:
            done[0] += 1
            if done[0] == step:
                chunks[0].buffers[0].grad_data.fill_(math.nan)
        return reports

    train_step.run_micro_batches = run_micro_batches
    return redone(arguments)


if __name__ == "__main__":
    sys.exit(main())
