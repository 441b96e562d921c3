"""What trained weights are worth: as the optimizer holds them, as the model uses them, and exported in bf16."""

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from megatron_redone.distributed import ParallelContext
from tools.small_steps.ours import Judge, Trained, Weights
from tools.small_steps.text import Pairs, read_posts

if TYPE_CHECKING:
    from tools.small_steps.run import Job

Judged = dict[str, dict[str, float]]


def judge_weights(
    job: "Job",
    trained: Trained,
    data: Path,
    model: Path,
    work: Path,
    context: ParallelContext,
) -> Judged:
    """Losses (and margins) by form of the weights: `start`, `main`, `model`, and main ones rounded in two ways."""
    judge = Judge(model, context)
    assess = _assessment(job, judge, data, model, work)
    start, found = judge.weights(), {"start": _at_start(job, assess, work)}
    for form, weights in _forms(job.side, trained):
        if job.seed == 0 or form == ("main" if job.side == "fp32" else "model"):
            judge.put(weights)
            found[form] = assess()
    found["changed"] = {form: _changed(start, weights) for form, weights in _forms(job.side, trained) if form != "main"}
    return found


def judge_folder(
    job: "Job",
    folder: Path,
    data: Path,
    model: Path,
    work: Path,
    context: ParallelContext,
) -> Judged:
    """The same for fp32 weights in a Hugging Face directory."""
    judge = Judge(model, context)
    assess = _assessment(job, judge, data, model, work)
    start, found = judge.weights(), {"start": _at_start(job, assess, work)}
    judge.put_folder(folder)
    main = judge.weights()
    found["main"] = assess()
    nearest = {name: weight.bfloat16() for name, weight in main.items()}
    judge.put(nearest)
    found["nearest"] = assess()
    found["changed"] = {"nearest": _changed(start, nearest)}
    return found


def _assessment(job: "Job", judge: Judge, data: Path, model: Path, work: Path) -> Callable[[], dict[str, float]]:
    if job.task == "dpo":
        pairs = Pairs(work / "pairs")
        kept = work / "reference.pt"
        if not kept.exists():
            _save(judge.scores(pairs), kept)
        reference = torch.load(kept)
        return lambda: judge.pairs(pairs, reference)
    posts = read_posts(data, model)
    return lambda: judge.posts(posts)


def _at_start(job: "Job", assess: Callable[[], dict[str, float]], work: Path) -> dict[str, float]:
    """What the weights are worth that all begin with; computed once."""
    kept = work / f"start.{job.task == 'dpo'}.pt"
    if not kept.exists():
        _save(assess(), kept)
    return torch.load(kept)


def _save(value: Any, path: Path) -> None:
    torch.save(value, path.with_suffix(f".{os.getpid()}"))
    os.replace(path.with_suffix(f".{os.getpid()}"), path)


def _forms(side: str, trained: Trained) -> Iterator[tuple[str, Weights]]:
    yield "main", trained.main
    if side != "fp32":
        yield "model", trained.model
    if side in ("fp32", "stochastic"):
        yield (
            "nearest",
            {name: weight.bfloat16() for name, weight in trained.main.items()},
        )
    if side == "fp32":
        yield (
            "stochastic",
            {name: _stochastically(name, weight) for name, weight in trained.main.items()},
        )


def _stochastically(name: str, weight: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    noise = torch.randint(0, 1 << 16, weight.shape, generator=generator, dtype=torch.int32)
    return ((weight.contiguous().view(torch.int32) + noise) & -(1 << 16)).view(torch.float32).bfloat16()


def _changed(start: Weights, end: Weights) -> float:
    """The fraction of weights that differ in bf16."""
    pairs = [(start[name].bfloat16(), end[name].bfloat16()) for name in start]
    return sum(int((a != b).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)
