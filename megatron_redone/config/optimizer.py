"""AdamW and the schedule of its learning rate."""

import enum
from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.errors import UserError


class Schedule(enum.Enum):
    """The course of the learning rate between the warm-up and the last step."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"
    wsd = "wsd"


class WsdDecay(enum.Enum):
    """The shape of the last part of `wsd` (warm-up, stable, decay)."""

    linear = "linear"
    cosine = "cosine"
    one_minus_sqrt = "one_minus_sqrt"


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW; weight decay applies to matrices only, not to norms and biases."""

    lr: float = key("highest learning rate", 1e-5)
    min_lr: float = key("learning rate that the decay leads to", 0.0)
    weight_decay: float = key("decoupled weight decay of matrices", 0.1)
    adam_beta1: float = key("decay of the mean of gradients", 0.9)
    adam_beta2: float = key("decay of the mean of squared gradients", 0.95)
    adam_eps: float = key("added to the denominator of an update", 1e-8)
    clip_grad: float = key("gradients of a greater norm are scaled down to it; 0 leaves them", 1.0)
    cpu_offload_share: float = key(
        "share of the optimizer's state that lies and is updated in main memory; CUDA only (not yet measured)", 0.0
    )
    schedule: Schedule = key("course of the learning rate after the warm-up", Schedule.cosine)
    warmup_steps: int | None = key("steps of linear warm-up; null goes by warmup_share", None)
    warmup_share: float = key("share of the steps that warm up, where warmup_steps is null", 0.0)
    wsd_decay_share: float = key("share of the steps at the end in which wsd decays", 0.1)
    wsd_decay: WsdDecay = key("shape of that decay", WsdDecay.one_minus_sqrt)

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise UserError(f"lr: {self.lr} is not positive")
        if not 0 <= self.min_lr <= self.lr:
            raise UserError(f"min_lr: {self.min_lr} is not between 0 and lr ({self.lr})")
        for name in ("weight_decay", "clip_grad", "adam_eps"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}: {getattr(self, name)} is negative")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is not between 0 and 1")
        for name in ("warmup_share", "wsd_decay_share", "cpu_offload_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}: {getattr(self, name)} is not a share between 0 and 1")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise UserError(f"warmup_steps: {self.warmup_steps} is negative")
        if self.warmup_steps is not None and self.warmup_share:
            raise UserError("warmup_share: warmup_steps is given too; leave one of them out")
