"""What ranks of a test do: build a small model on a layout, train it, return numbers.

Everything here is imported on ranks of the pool by name.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.batches.row_placer import RowPlacer, Rows
from megatron_redone.config.model import Backend, ModelConfig, Precision, Recompute
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.config.preference import PreferenceLossConfig
from megatron_redone.config.sft_data import SftDataConfig
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.packed_rows import open_packed_blend, packed_collate
from megatron_redone.datasets.pair_rows import RowPlan
from megatron_redone.datasets.preference_pairs import PairStream
from megatron_redone.distributed import ParallelContext, start_context
from megatron_redone.distributed.context_parallel import split_sequence
from megatron_redone.formats.reference_scores import ReferenceScores
from megatron_redone.models.build import Model, build_model
from megatron_redone.models.shards import EMBEDDING, OUTPUT, iterate_shards, load_full_weights
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.objectives.objective import LossFunction, Objective, Report
from megatron_redone.objectives.preference import PreferenceObjective
from megatron_redone.objectives.response_scores import score_pairs
from megatron_redone.training.optimizer import build_optimizer, set_learning_rate
from megatron_redone.training.schedule import LearningRate
from megatron_redone.training.train_step import StepResult, evaluate_step, train_step
from tests.helpers import hf_models


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


def random_rows(rows: int, length: int, vocab: int, seed: int) -> MicroBatch:
    """Rows of random tokens; an uneven third of the labels does not count."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(0, vocab, (rows, length + 1), generator=generator)
    keep = torch.rand(rows, length, generator=generator) > torch.linspace(0.0, 0.7, rows)[:, None]
    return MicroBatch(
        tokens=text[:, :-1].contiguous(),
        labels=text[:, 1:].contiguous(),
        loss_mask=keep.float(),
        position_ids=torch.arange(length).repeat(rows, 1),
    )


def packed_row(lengths: list[int], vocab: int, seed: int) -> MicroBatch:
    """One row of documents of the given lengths, kept apart."""
    row = random_rows(1, sum(lengths), vocab, seed)
    return dataclasses.replace(
        row,
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
        cu_seqlens=torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32),
    )


def micro_batches(batch: MicroBatch, context: ParallelContext, rows: int) -> list[MicroBatch]:
    """This rank's share of a global batch, in micro-batches of `rows`."""
    count = batch.tokens.shape[0] // context.data_size
    first = context.data_rank * count
    return [
        MicroBatch(
            tokens=batch.tokens[at : at + rows],
            labels=batch.labels[at : at + rows],
            loss_mask=batch.loss_mask[at : at + rows],
            position_ids=batch.position_ids[at : at + rows],
            cu_seqlens=batch.cu_seqlens,
        )
        for at in range(first, first + count, rows)
    ]


def train(run: Run, steps: int, length: int = 32, rows: int = 8) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step; two micro-batches of each rank's share."""
    model = start(run)
    chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(chunks, OptimizerConfig(lr=3e-3, weight_decay=0.1))
    set_learning_rate(optimizer, 3e-3)
    objective = LanguageModelling(model.row_placer)
    results: list[StepResult] = []
    for step in range(steps):
        batch = random_rows(rows, length, model.architecture.vocab_size, seed=step)
        mine = micro_batches(batch, model.context, rows=rows // model.context.data_size // 2)
        results.append(train_step(chunks, optimizer, objective, mine))
    assert not any(result.skipped for result in results)
    return [(result.loss, result.grad_norm) for result in results]


@dataclass(frozen=True)
class ShardGradient:
    """A reduced gradient as one rank holds it, and which part of the full one it is."""

    name: str
    dim: int | None
    ranges: tuple[tuple[int, int], ...]
    gradient: torch.Tensor

    def part_of(self, full: torch.Tensor) -> torch.Tensor:
        """The same part of a full gradient."""
        if self.dim is None:
            return full
        return torch.cat([full.narrow(self.dim, a, b - a) for a, b in self.ranges], self.dim)


def gradients(run: Run, batches: list[MicroBatch]) -> tuple[float, list[ShardGradient]]:
    """Loss and gradients of one step, not clipped."""
    return _gradients(start(run), batches)


def packed_gradients(run: Run, data: SftDataConfig, rows: int) -> tuple[float, list[ShardGradient]]:
    """The same of a step on the first rows of packed conversations, each rank reading its part."""
    model = start(run)
    context = model.context
    batch_slice = BatchSlice(
        global_batch_size=rows,
        micro_batch_size=1,
        data_parallel_size=context.data_size,
        data_parallel_rank=context.data_rank,
    )
    return _gradients(
        model, BatchReader(open_packed_blend(data), batch_slice, packed_collate(context.config)).read(0).micro_batches
    )


def preference_gradients(
    run: Run, prefix: str, loss: PreferenceLossConfig, seq_length: int, share_prompt: bool, reference: ReferenceScores
) -> tuple[dict[str, float], list[ShardGradient]]:
    """All metrics of a step on all pairs of a dataset, and its gradients."""
    model = start(run)
    stream = PairStream(prefix, seq_length=seq_length, share_prompt=share_prompt, reference=reference)
    objective = PreferenceObjective(loss, model.row_placer)
    batches = _pair_batches(model, stream, seq_length)
    result, found = _step_gradients(model, batches, objective)
    return {**result.metrics, "grad_norm": result.grad_norm}, found


def reference_scores(run: Run, prefix: str, seq_length: int, share_prompt: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and lengths of all responses of a dataset."""
    model = start(run)
    stream = PairStream(prefix, seq_length=seq_length, share_prompt=share_prompt)
    for chunk in model.chunks:
        chunk.eval()
    batches = _pair_batches(model, stream, seq_length)
    return score_pairs(model.chunks, model.row_placer, batches, 0, stream.pairs)


def _pair_batches(model: Model, stream: PairStream, seq_length: int) -> list[MicroBatch]:
    context = model.context
    batch_slice = BatchSlice(
        global_batch_size=context.data_size,
        micro_batch_size=1,
        data_parallel_size=context.data_size,
        data_parallel_rank=context.data_rank,
    )
    samples = [(stream, number) for number in range(stream.samples_per_epoch)]
    return list(RowPlan(seq_length, context.config)(samples, batch_slice))


def _gradients(model: Model, batches: list[MicroBatch]) -> tuple[float, list[ShardGradient]]:
    result, found = _step_gradients(model, batches, LanguageModelling(model.row_placer))
    return result.loss, found


def _step_gradients(
    model: Model, batches: list[MicroBatch], objective: Objective
) -> tuple[StepResult, list[ShardGradient]]:
    chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(chunks, OptimizerConfig(lr=1e-9, clip_grad=0.0))
    result = train_step(chunks, optimizer, objective, batches)
    found = []
    for shard in iterate_shards(model.chunks, model.architecture, model.context):
        gradient = shard.parameter.main_grad  # type: ignore[attr-defined]
        if shard.name in (EMBEDDING, OUTPUT):
            rows = sum(b - a for a, b in shard.ranges)
            assert not gradient[rows:].any(), "padding has a gradient"
            gradient = gradient[:rows]
        found.append(ShardGradient(shard.name, shard.dim, shard.ranges, gradient.clone()))
    return result, found


@dataclass
class _LogitCapture:
    """An objective that keeps the last stage's logits."""

    row_placer: RowPlacer
    logits: list[torch.Tensor] = field(default_factory=list)

    def forward_step(self, batches: Iterator[Rows], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        rows = next(batches)
        return chunk(rows.batch.tokens, rows.batch.position_ids, None, packed_seq_params=rows.layout), self._keep

    def _keep(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Report]:
        self.logits.append(logits)
        return logits.sum(), torch.ones((), dtype=torch.int32), {"loss": torch.ones(2)}


def logits(run: Run, batches: list[MicroBatch]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each micro-batch, the last stage's logits [B, L, V / TP] and their positions [L] in the row."""
    model = start(run)
    chunks = wrap_data_parallel(model)
    for chunk in chunks:
        chunk.eval()
    capture = _LogitCapture(model.row_placer)
    evaluate_step(chunks, capture, batches)
    positions = torch.arange(batches[0].tokens.shape[1])[None]
    mine = split_sequence(positions, model.context.context_rank, model.context.config.context_parallel_size)[0]
    return [(found, mine) for found in capture.logits]


def train_on_text(run: Run, ids: list[int], length: int, rows: int, steps: int) -> list[float]:
    """Losses of training on consecutive rows of a text, from random weights."""
    context = start_context(ParallelConfig(**run.parallel), Device.cpu)
    shape = hf_models.architecture(run.model, **run.changes)
    model = build_model(shape, ModelConfig(hf_config="none", backend=Backend.torch, **run.compute), context)
    chunks = wrap_data_parallel(model)
    config = OptimizerConfig(lr=2e-3, warmup_ratio=0.2)
    optimizer = build_optimizer(chunks, config)
    schedule = LearningRate(config, steps)
    text = torch.tensor(ids[: steps * rows * length + 1])
    losses = []
    for step in range(steps):
        batch = text_rows(text[step * rows * length :], rows, length)
        set_learning_rate(optimizer, schedule.at(step))
        mine = micro_batches(batch, context, rows=rows // context.data_size)
        losses.append(train_step(chunks, optimizer, LanguageModelling(model.row_placer), mine).loss)
    return losses


def text_rows(text: torch.Tensor, rows: int, length: int) -> MicroBatch:
    """The first rows of a text."""
    return MicroBatch(
        tokens=text[: rows * length].view(rows, length),
        labels=text[1 : rows * length + 1].view(rows, length),
        loss_mask=torch.ones(rows, length),
        position_ids=torch.arange(length).repeat(rows, 1),
    )
