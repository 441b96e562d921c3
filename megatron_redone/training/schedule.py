"""The learning rate as a function of the step: nothing to save, nothing to resume."""

import math
from dataclasses import dataclass

from megatron_redone.config.optimizer import OptimizerConfig, Schedule, WsdDecay
from megatron_redone.errors import UserError


@dataclass(frozen=True)
class LearningRate:
    """The schedule of a run of `train_steps` steps."""

    config: OptimizerConfig
    train_steps: int

    def __post_init__(self) -> None:
        if self.warmup_steps > self.train_steps:
            raise UserError(f"warmup_steps: {self.warmup_steps} is more than the {self.train_steps} steps of the run")

    @property
    def warmup_steps(self) -> int:
        """Steps of linear warm-up."""
        if self.config.warmup_steps is not None:
            return self.config.warmup_steps
        return math.ceil(self.config.warmup_ratio * self.train_steps)

    def at(self, step: int) -> float:
        """The learning rate of step number `step`; the first is 0.

        The warm-up begins above zero, at `lr / warmup_steps`, and the decay would reach `min_lr` one step after
        the last: no step is wasted on a rate of zero.
        """
        if step < self.warmup_steps:
            return self.config.lr * (step + 1) / self.warmup_steps
        return self.config.min_lr + (self.config.lr - self.config.min_lr) * self._share(step)

    def _share(self, step: int) -> float:
        """How much of the way from `min_lr` to `lr`, after the warm-up."""
        if self.config.schedule is Schedule.constant:
            return 1.0
        begin = self.warmup_steps
        if self.config.schedule is Schedule.wsd:
            begin = max(begin, self.train_steps - math.ceil(self.config.wsd_decay_fraction * self.train_steps))
        if step < begin:
            return 1.0
        progress = min((step - begin) / max(self.train_steps - begin, 1), 1.0)
        if self.config.schedule is Schedule.linear:
            return 1.0 - progress
        if self.config.schedule is Schedule.cosine:
            return _cosine(progress)
        return _wsd(self.config.wsd_decay, progress)


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _wsd(decay: WsdDecay, progress: float) -> float:
    if decay is WsdDecay.linear:
        return 1.0 - progress
    if decay is WsdDecay.cosine:
        return _cosine(progress)
    return 1.0 - math.sqrt(progress)  # https://arxiv.org/abs/2405.18392
