"""One step of training, and one of evaluation, over megatron-core's schedules."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.distributed.collectives import broadcast_from_last, sum_over
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.objectives import Objective, Report
from megatron_redone.objectives.micro_batches import run_micro_batches
from megatron_redone.objectives.objective import ForwardPass


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step says about itself, the same on every rank.

    Attributes:
        metrics: The objective's metrics over the global batch, each already divided; `loss` among them.
        terms: What each was divided by; for `loss` of language modelling, the tokens that counted.
        grad_norm: Of all gradients, before clipping.
        fault: Why the weights were left alone; None where they changed.
    """

    metrics: dict[str, float]
    terms: dict[str, float]
    grad_norm: float
    fault: str | None = None

    @property
    def skipped(self) -> bool:
        """Whether the weights were left alone."""
        return self.fault is not None

    @property
    def loss(self) -> float:
        """The loss that was minimised, per term of the global batch."""
        return self.metrics["loss"]


Judge = Callable[[float, float, bool], str | None]
"""Takes loss, gradient norm and whether all numbers are finite; says why the weights are to stay, or None."""


def only_finite(_: float, __: float, finite: bool) -> str | None:
    """The least that is asked of a step."""
    return None if finite else "numbers that are not finite"


def train_step(
    model_chunks: Sequence[DistributedDataParallel],
    optimizer: MegatronOptimizer,
    objective: Objective,
    micro_batches: Sequence[MicroBatch],
    judge: Judge = only_finite,
) -> StepResult:
    """Gradients over this rank's micro-batches, reduced over all ranks, clipped and applied.

    Args:
        model_chunks: This rank's, wrapped, in training mode.
        optimizer: Its learning rate is already set.
        objective: Makes the loss.
        micro_batches: This data-parallel rank's, all of one shape, as many as on the other ranks.
        judge: Decides from what all ranks share whether the weights change, and so decides the same on all of them.
    """
    for chunk in model_chunks:
        chunk.zero_grad_buffer()
    optimizer.zero_grad()
    reports = run_micro_batches(model_chunks, objective, micro_batches, forward_only=False)
    not_finite = optimizer.prepare_grads()
    grad_norm = float(optimizer.get_grad_norm())
    metrics, terms = _reduce(reports, objective.row_placer.context)
    finite = not not_finite and math.isfinite(grad_norm) and (math.isfinite(metrics["loss"]) or not terms["loss"])
    fault = judge(metrics["loss"], grad_norm, finite)
    if fault is None:
        _clip(optimizer, grad_norm)
        fault = None if optimizer.step_with_ready_grads() else "an optimizer that refused it"
    return StepResult(metrics=metrics, terms=terms, grad_norm=grad_norm, fault=fault)


@torch.no_grad()
def evaluate_step(
    model_chunks: Sequence[torch.nn.Module], forward_pass: ForwardPass, micro_batches: Sequence[MicroBatch]
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics over a global batch, and what each was divided by, without gradients.

    The chunks are to be in evaluation mode; averages over several calls weigh by the second result.
    """
    reports = run_micro_batches(model_chunks, forward_pass, micro_batches, forward_only=True)
    return _reduce(reports, forward_pass.row_placer.context)


def _clip(optimizer: MegatronOptimizer, grad_norm: float) -> None:
    """Scales gradients down to the configured norm, in place; without Apex megatron-core would copy each."""
    limit = optimizer.config.clip_grad
    if limit <= 0 or grad_norm <= limit:
        return
    found = [_gradient(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    grads = [grad for grad in found if grad is not None]
    if grads:
        torch._foreach_mul_(grads, limit / (grad_norm + 1e-6))  # type: ignore[attr-defined]


def _gradient(parameter: torch.Tensor) -> torch.Tensor | None:
    """Where megatron-core has put it: under another name where optimizer_offload_fraction gives it another type."""
    decoupled = getattr(parameter, "decoupled_grad", None)
    return parameter.grad if decoupled is None else decoupled


def _reduce(reports: Sequence[Report], context: ParallelContext) -> tuple[dict[str, float], dict[str, float]]:
    """Adds reports up over micro-batches and ranks, and divides. Only the last stage has reports."""
    totals: dict[str, list[float]] = {}
    if context.is_last_stage:
        names = sorted(reports[0])
        sums = sum(torch.stack([report[name].double() for name in names]) for report in reports)
        assert isinstance(sums, torch.Tensor)
        totals = dict(zip(names, sum_over(sums, context.groups.dp_cp).tolist(), strict=True))
    totals = broadcast_from_last(totals, context.groups.pp)
    metrics = {name: value / terms if terms else math.nan for name, (value, terms) in totals.items()}
    return metrics, {name: terms for name, (_, terms) in totals.items()}
