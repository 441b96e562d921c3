"""A run of this project's own training, and what its weights are worth afterwards."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.functional import logsigmoid

from megatron_redone.architectures import read_architecture
from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.config.fp8 import Fp8Config, Fp8Recipe
from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.config.optimizer import Bf16Rounding, OptimizerConfig, Schedule
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.config.preference import PreferenceLossConfig
from megatron_redone.distributed import ParallelContext, start_context
from megatron_redone.formats.reference_scores import ReferenceScores
from megatron_redone.models.build import Model, build_model
from megatron_redone.models.shards import iterate_shards
from megatron_redone.models.transformer_config import DTYPES
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.objectives import Objective
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.objectives.preference import PreferenceObjective
from megatron_redone.objectives.response_scores import score_pairs
from megatron_redone.training.dithering import dither_main_weights, dither_weights
from megatron_redone.training.initial_weights import find_initial_weights
from megatron_redone.training.main_weights import MainWeight
from megatron_redone.training.optimizer import build_optimizer, set_learning_rate
from megatron_redone.training.schedule import LearningRate
from megatron_redone.training.stochastic_copies import round_copies_stochastically
from megatron_redone.training.train_step import evaluate_step, train_step
from tools.small_steps.text import HELD_OUT_PAIRS, Pairs, Posts

WARMUP, BETA = 10, 0.1
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Trained:
    """What a run leaves: its losses, and its weights as [name, tensor].

    Attributes:
        model: The weights that it computed with, which a bf16 run's export holds.
        main: The fp32 weights that the optimizer moved.
    """

    losses: list[float]
    model: Weights
    main: Weights


class Judge:
    """Computes in fp32 whatever weights it is given, so that the arithmetic is the same for all."""

    def __init__(self, folder: Path, context: ParallelContext) -> None:
        """Builds the model once."""
        self._folder = folder
        self._model = load(folder, Precision.fp32, context)
        for chunk in self._model.chunks:
            chunk.eval()

    def put(self, weights: Weights) -> None:
        """Takes weights of any dtype."""
        (chunk,) = self._model.chunks
        with torch.no_grad():
            for name, parameter in chunk.named_parameters():
                parameter.copy_(weights[name])

    def weights(self) -> Weights:
        """A copy of what it holds."""
        (chunk,) = self._model.chunks
        return {name: parameter.detach().clone() for name, parameter in chunk.named_parameters()}

    def put_folder(self, folder: Path) -> None:
        """Takes a Hugging Face directory's weights."""
        find_initial_weights(str(folder)).fill(self._model)

    def posts(self, posts: Posts) -> dict[str, float]:
        """The loss on the held-out rows."""
        objective = LanguageModelling(self._model.row_placer)
        return {"loss": evaluate_step(self._model.chunks, objective, posts.held_out)[0]["loss"]}

    def scores(self, pairs: Pairs) -> torch.Tensor:
        """Log-probabilities of both responses of the held-out pairs, float64 [pairs, 2]."""
        return score(self._model, pairs, pairs.held_out)[0].double()

    def pairs(self, pairs: Pairs, reference: torch.Tensor) -> dict[str, float]:
        """The loss and the margin of the rewards on the held-out pairs."""
        rewards = BETA * (self.scores(pairs) - reference)
        margin = rewards[:, 0] - rewards[:, 1]
        return {
            "loss": -float(logsigmoid(margin).mean()),
            "margin": float(margin.mean()),
        }


def load(
    folder: Path,
    precision: Precision,
    context: ParallelContext,
    recipe: str | None = None,
) -> Model:
    """A model with a Hugging Face directory's weights.

    With a recipe, layers multiply in FP8, emulated; `precision` is then that of the weights and of all else, and fp32
    shows what FP8 costs by itself.
    """
    compute = ModelConfig(precision=precision, backend=Backend.torch)
    if recipe is not None:
        fp8 = Fp8Config(recipe=Fp8Recipe(recipe))
        compute = ModelConfig(precision=Precision.fp8_emulated, backend=Backend.torch, fp8=fp8)
    with patch.dict(DTYPES, {compute.precision: DTYPES[precision]}):
        model = build_model(read_architecture(folder / "config.json"), compute, context, None)
    find_initial_weights(str(folder)).fill(model)
    return model


def begin_dithered(model: Model, seed: int) -> None:
    """Moves the weights of a model in fp32 to where the main weights of a dithered bf16 run of this seed begin."""
    shards = iterate_shards(model.chunks, model.architecture, model.context)
    flat = ((shard, shard.parameter.detach().view(-1)) for shard in shards)
    dither_weights((MainWeight(shard=shard, first=0, main=values, copy=None) for shard, values in flat), seed)


def score(model: Model, pairs: Pairs, numbers: range) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums float32 [pairs, 2] and lengths of some pairs."""
    for chunk in model.chunks:
        chunk.eval()
    return score_pairs(
        model.chunks,
        model.row_placer,
        pairs.rows(list(numbers)),
        numbers.start,
        len(numbers),
    )


def score_as_reference(model: Model, folder: Path) -> Pairs:
    """The pairs with the scores of a model that has not been trained yet, in its own arithmetic; computed once."""
    unscored = Pairs(folder)
    kept = folder / f"scores.{model.config.params_dtype}.pt"
    if not kept.exists():
        scored = score(model, unscored, unscored.train)
        torch.save(scored, kept.with_suffix(f".{os.getpid()}"))
        os.replace(kept.with_suffix(f".{os.getpid()}"), kept)
    scored = torch.load(kept)
    # Held-out pairs are judged with a reference of their own, in fp32.
    sums, lengths = (torch.cat([part, part.new_zeros(HELD_OUT_PAIRS, 2)]).numpy() for part in scored)
    facts: dict[str, Any] = {
        "data": unscored.stream.digest,
        "model": "",
        "done": unscored.stream.pairs,
    }
    return Pairs(folder, ReferenceScores(**facts, sums=sums, lengths=lengths))


def start() -> ParallelContext:
    """The context of one process."""
    return start_context(ParallelConfig(), Device.cpu)


def continue_pretraining(model: Model, batches: list[MicroBatch], optimizer: OptimizerConfig, seed: int) -> Trained:
    """Trains on rows, one a step."""
    steps = ([batch] for batch in batches)
    return train(model, LanguageModelling(model.row_placer), steps, len(batches), optimizer, seed)


def optimise_preferences(model: Model, pairs: Pairs, seed: int, steps: int, optimizer: OptimizerConfig) -> Trained:
    """Trains on pairs whose reference has been scored."""
    objective = PreferenceObjective(PreferenceLossConfig(beta=BETA), model.row_placer)
    return train(model, objective, pairs.steps(seed, steps), steps, optimizer, seed)


def train(
    model: Model,
    objective: Objective,
    steps: Iterable[list[MicroBatch]],
    count: int,
    config: OptimizerConfig,
    seed: int,
) -> Trained:
    """The loop of every run."""
    for chunk in model.chunks:
        chunk.train()
    chunks = wrap_data_parallel(model)
    optimizer, schedule, losses = (
        build_optimizer(chunks, config),
        LearningRate(config, count),
        [],
    )
    if config.bf16_rounding is Bf16Rounding.stochastic:
        round_copies_stochastically(model, optimizer, seed)
    if config.dither_main_weights:
        dither_main_weights(model, optimizer, seed)
    for step, batches in enumerate(steps):
        set_learning_rate(optimizer, schedule.at(step))
        losses.append(train_step(chunks, optimizer, objective, batches).loss)
    (chunk,) = model.chunks
    weights = {name: parameter.detach() for name, parameter in chunk.named_parameters()}
    main = {name: _main(parameter).detach().view(parameter.shape) for name, parameter in chunk.named_parameters()}
    return Trained(losses=losses, model=weights, main=main)


def _main(parameter: torch.nn.Parameter) -> torch.Tensor:
    return getattr(parameter, "main_param", parameter)


def optimizer_config(lr: float, **keys: Any) -> OptimizerConfig:
    """The same for all sides: a constant rate after ten steps of warm-up."""
    return OptimizerConfig(lr=lr, schedule=Schedule.constant, warmup_steps=WARMUP, **keys)
