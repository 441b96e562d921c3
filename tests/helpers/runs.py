"""What ranks of a test do: build a small model on a layout, train it, return numbers.

Everything here is imported on ranks of the pool by name.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from helpers import hf_models

from megatron_redone.config.model import Backend, ModelConfig, Precision, Recompute
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import ParallelContext, start_context
from megatron_redone.models.build import Model, build_model
from megatron_redone.models.shards import iterate_shards, load_full_weights
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.objectives.objective import Batch
from megatron_redone.training.optimizer import build_optimizer, set_learning_rate
from megatron_redone.training.train_step import StepResult, train_step


@dataclass(frozen=True, kw_only=True)
class Run:
    """A small model on a layout.

    Attributes:
        model: One of `hf_models.MODELS`.
        parallel: Keys of ParallelConfig.
        compute: Keys of ModelConfig.
        changes: Keys of the Hugging Face configuration.
    """

    model: str = "qwen2_tied"
    parallel: dict[str, Any] = field(default_factory=dict)
    compute: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)


def start(run: Run) -> Model:
    """The model of a run on this rank, with the weights of transformers' model."""
    context = start_context(ParallelConfig(**run.parallel), Device.cpu)
    shape = hf_models.architecture(run.model, **run.changes)
    keys = {"precision": Precision.fp32, "backend": Backend.torch, **run.compute}
    if isinstance(keys.get("recompute"), str):
        keys["recompute"] = Recompute(keys["recompute"])
    model = build_model(shape, ModelConfig(hf_config="none", **keys), context)
    weights = hf_models.full_weights(hf_models.hf_model(run.model, **run.changes), shape)
    load_full_weights(model.chunks, weights, shape, context)
    return model


def random_rows(rows: int, length: int, vocab: int, seed: int) -> Batch:
    """Rows of random tokens; an uneven third of the labels does not count."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(0, vocab, (rows, length + 1), generator=generator)
    keep = torch.rand(rows, length, generator=generator) > torch.linspace(0.0, 0.7, rows)[:, None]
    return {
        "tokens": text[:, :-1].contiguous(),
        "labels": text[:, 1:].contiguous(),
        "loss_mask": keep.float(),
        "position_ids": torch.arange(length).repeat(rows, 1),
    }


def micro_batches(batch: Batch, context: ParallelContext, rows: int) -> list[Batch]:
    """This rank's share of a global batch, in micro-batches of `rows`."""
    count = batch["tokens"].shape[0] // context.data_size
    first = context.data_rank * count
    return [{key: value[at : at + rows] for key, value in batch.items()} for at in range(first, first + count, rows)]


def train(run: Run, steps: int, length: int = 32, rows: int = 8) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step; two micro-batches of each rank's share."""
    model = start(run)
    chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(chunks, OptimizerConfig(lr=3e-3, weight_decay=0.1))
    set_learning_rate(optimizer, 3e-3)
    objective = LanguageModelling(model.context)
    results: list[StepResult] = []
    for step in range(steps):
        batch = random_rows(rows, length, model.architecture.vocab_size, seed=step)
        mine = micro_batches(batch, model.context, rows=rows // model.context.data_size // 2)
        results.append(train_step(chunks, optimizer, objective, mine, model.context))
    assert not any(result.skipped for result in results)
    return [(result.loss, result.grad_norm) for result in results]


def gradients(model: Model) -> dict[str, torch.Tensor]:
    """The reduced gradients of this rank's shards."""
    return {
        shard.name: shard.parameter.main_grad.clone()
        for shard in iterate_shards(  # type: ignore[attr-defined]
            model.chunks, model.architecture, model.context
        )
    }
