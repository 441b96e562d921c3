"""AdamW and the schedule of its learning rate."""

import enum
from dataclasses import dataclass

from megatron_redone.config.bf16_rounding import Bf16Rounding
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


class MomentsDtype(enum.Enum):
    """The type of Adam's two moments between steps, of which each is computed in fp32.

    In bf16 a parameter takes 8 bytes of optimizer state instead of 12.
    """

    fp32 = "fp32"
    bf16 = "bf16"


# Rounding to the nearest stops a moment up to 2^-9 / (1 - beta) short of where it goes: at 0.95 four percent of the
# second one, two of a step.
_LARGEST_BETA_OF_BF16 = 0.95


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW; weight decay applies to matrices only, not to norms and biases."""

    lr: float = key("highest learning rate", 1e-5, above=0)
    min_lr: float = key("learning rate that the decay leads to", 0.0, at_least=0)
    weight_decay: float = key("decoupled weight decay of matrices", 0.1, at_least=0)
    adam_beta1: float = key("decay of the mean of gradients", 0.9, at_least=0, below=1)
    adam_beta2: float = key("decay of the mean of squared gradients", 0.95, at_least=0, below=1)
    adam_eps: float = key("added to the denominator of an update", 1e-8, at_least=0)
    clip_grad: float = key("gradients of a greater norm are scaled down to it; 0 leaves them", 1.0, at_least=0)
    moments_dtype: MomentsDtype = key(
        "type of Adam's moments between steps: fp32, or bf16, which takes a third less memory and makes "
        "steps up to 2 % larger",
        MomentsDtype.fp32,
    )
    optimizer_offload_fraction: float = key(
        "fraction of the optimizer's state that lies and is updated in main memory; CUDA only (not yet measured)",
        0.0,
        at_least=0,
        at_most=1,
        formerly="cpu_offload_share",
    )
    dither_main_weights: bool | None = key(
        "main weights begin at random places within what rounds to their bf16 weight, so that small steps count from "
        "the first one; null does so where init_from gives the weights and they train in bf16 or FP8",
        None,
    )
    bf16_rounding: Bf16Rounding = key(
        "how a step rounds main weights to the model's bf16 weights: to the nearest, or by chance (stochastic)",
        Bf16Rounding.nearest,
    )
    schedule: Schedule = key("course of the learning rate after the warm-up", Schedule.cosine)
    warmup_steps: int | None = key("steps of linear warm-up; null goes by warmup_ratio", None, at_least=0)
    warmup_ratio: float = key(
        "fraction of the steps that warm up, where warmup_steps is null",
        0.0,
        at_least=0,
        at_most=1,
        formerly="warmup_share",
    )
    wsd_decay_fraction: float = key(
        "fraction of the steps at the end in which wsd decays", 0.1, at_least=0, at_most=1, formerly="wsd_decay_share"
    )
    wsd_decay: WsdDecay = key("shape of that decay", WsdDecay.one_minus_sqrt)

    def __post_init__(self) -> None:
        self._check_moments()
        if self.min_lr > self.lr:
            raise UserError(f"min_lr: {self.min_lr} is more than lr ({self.lr})")
        if self.warmup_steps is not None and self.warmup_ratio:
            raise UserError("warmup_ratio: warmup_steps is given too; leave one of them out")

    def _check_moments(self) -> None:
        if self.moments_dtype is MomentsDtype.fp32:
            return
        if max(self.adam_beta1, self.adam_beta2) > _LARGEST_BETA_OF_BF16:
            raise UserError(
                "moments_dtype: bf16 cannot hold moments that decay by less than 5 % a step; set adam_beta1 and "
                f"adam_beta2 to {_LARGEST_BETA_OF_BF16} at most, or take fp32"
            )
        if self.optimizer_offload_fraction:
            raise UserError("moments_dtype: not with optimizer_offload_fraction; leave one of them out")
