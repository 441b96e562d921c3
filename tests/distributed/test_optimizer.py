"""megatron-core's optimizer as it is set up here."""

import copy
import dataclasses
import math

import pytest
import torch
from megatron.core.optimizer import ChainedOptimizer

from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.training.model_state import full_state
from megatron_redone.training.optimizer import build_optimizer
from megatron_redone.training.train_step import train_step
from tests.helpers import hf_models
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, micro_batches, random_rows, start

pytestmark = pytest.mark.distributed

# Well above the rounding of a gradient: where one is nearly zero, a smaller epsilon would have Adam take a full step
# in the direction of its rounding error, which differs from processor to processor.
EPS = 1e-6


def six_steps(run: Run) -> tuple[list[float], dict[str, torch.Tensor]]:
    model = start(run)
    chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(chunks, OptimizerConfig(lr=1e-2, weight_decay=0.3, clip_grad=1.0, adam_eps=EPS))
    batches = [random_rows(2, 16, 500, seed) for seed in range(6)]
    results = [train_step(chunks, optimizer, LanguageModelling(model.row_placer), [batch]) for batch in batches]
    weights = {name: value.detach().clone() for name, value in model.chunks[0].named_parameters()}
    return [result.loss for result in results], weights


@pytest.mark.parametrize("model", ["qwen2_untied", "qwen2_tied"])
def test_steps_equal_transformers_with_torch_adamw(model: str) -> None:
    """Losses, clipping, and weight decay on matrices only."""
    [(losses, weights)] = run_on_ranks(1, six_steps, Run(model=model))
    oracle = hf_models.hf_model(model)
    matrices = [parameter for parameter in oracle.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in oracle.parameters() if parameter.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=EPS)
    for step, loss in enumerate(losses):
        batch = random_rows(2, 16, 500, step)
        scores = oracle(batch.tokens).logits.flatten(0, 1)
        each = torch.nn.functional.cross_entropy(scores, batch.labels.flatten(), reduction="none")
        total = (each * batch.loss_mask.flatten()).sum() / batch.loss_mask.sum()
        assert loss == pytest.approx(float(total), rel=1e-5)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(oracle.parameters(), 1.0)
        optimizer.step()
    norm = weights["decoder.final_layernorm.weight"]
    torch.testing.assert_close(norm, oracle.model.norm.weight.detach(), rtol=1e-4, atol=1e-5)
    embedding = weights["embedding.word_embeddings.weight"][:500]
    torch.testing.assert_close(embedding, oracle.model.embed_tokens.weight.detach(), rtol=1e-3, atol=1e-4)


def step_over_nan(run: Run) -> tuple[bool, float, bool, bool]:
    model = start(run)
    chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(chunks, OptimizerConfig(lr=1e-2))
    objective = LanguageModelling(model.row_placer)
    good = random_rows(4, 16, 500, 0)
    train_step(chunks, optimizer, objective, micro_batches(good, model.context, rows=1))
    bad = dataclasses.replace(good, loss_mask=good.loss_mask.clone())
    bad.loss_mask[-1, -1] = math.nan
    before = copy.deepcopy([parameter.data for parameter in model.chunks[0].parameters()])
    result = train_step(chunks, optimizer, objective, micro_batches(bad, model.context, rows=1))
    unchanged = all(torch.equal(a, b) for a, b in zip(before, model.chunks[0].parameters(), strict=True))
    after = train_step(chunks, optimizer, objective, micro_batches(good, model.context, rows=1))
    return result.skipped, result.grad_norm, unchanged, after.skipped


@pytest.mark.parametrize("world_size", [1, 2])
def test_gradients_that_are_not_finite_change_nothing(world_size: int) -> None:
    """Also where only one rank's micro-batch is bad."""
    for skipped, grad_norm, unchanged, skipped_after in run_on_ranks(world_size, step_over_nan, Run()):
        assert skipped and not math.isfinite(grad_norm) and unchanged and not skipped_after


def state_outside_the_optimizer(run: Run) -> list[str]:
    model = start(run)
    chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(chunks, OptimizerConfig(lr=1e-2))
    batches = micro_batches(random_rows(4, 16, 500, 0), model.context, rows=1)
    train_step(chunks, optimizer, LanguageModelling(model.row_placer), batches)
    saved = full_state(model.chunks, optimizer).values
    assert isinstance(optimizer, ChainedOptimizer)
    states = [state for part in optimizer.chained_optimizers for state in part.optimizer.state.values()]
    own = {value.data_ptr() for state in states for value in state.values() if isinstance(value, torch.Tensor)}
    own |= {parameter.data_ptr() for group in optimizer.param_groups for parameter in group["params"]}
    own |= {parameter.data_ptr() for chunk in model.chunks for parameter in chunk.parameters()}
    return [values.parts[0].key for values in saved if values.tensor.data_ptr() not in own]


def test_nothing_is_copied_for_a_checkpoint() -> None:
    for copied in run_on_ranks(2, state_outside_the_optimizer, Run()):
        assert copied == []
