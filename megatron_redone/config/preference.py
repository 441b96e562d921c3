"""Keys of a loss on pairs of responses, one chosen and one rejected."""

import enum
from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.errors import UserError


class PreferenceLoss(enum.Enum):
    """What is minimised for a pair; the formulas and their papers are in `objectives/preference_losses.py`."""

    dpo = "dpo"
    ipo = "ipo"
    hinge = "hinge"
    rpo_bwd_kl = "rpo_bwd_kl"
    rpo_fwd_kl = "rpo_fwd_kl"
    rpo_sq = "rpo_sq"
    simpo = "simpo"
    orpo = "orpo"

    @property
    def needs_reference(self) -> bool:
        """Whether it compares the policy with a reference model."""
        return self not in _REFERENCE_FREE

    @property
    def needs_rewards(self) -> bool:
        """Whether a pair must say how good each response is, not only which is better."""
        return self in _REWARDED

    @property
    def takes_mean(self) -> bool:
        """Whether it is defined on the mean log-probability of a response's tokens instead of their sum."""
        return self in _OF_MEANS


_REFERENCE_FREE = (PreferenceLoss.simpo, PreferenceLoss.orpo)
_REWARDED = (PreferenceLoss.rpo_bwd_kl, PreferenceLoss.rpo_fwd_kl, PreferenceLoss.rpo_sq)
# IPO's authors confirmed to TRL that their results were had with means (trl/trainer/dpo_trainer.py, "ipo").
_OF_MEANS = (PreferenceLoss.ipo, PreferenceLoss.simpo, PreferenceLoss.orpo)
_SMOOTHED = (PreferenceLoss.dpo, PreferenceLoss.simpo)


@dataclass(frozen=True, kw_only=True)
class PreferenceLossConfig:
    """The loss of a pair: preference_loss_weight x preference + sft_loss_weight x -log p(chosen)."""

    loss: PreferenceLoss = key("what is minimised for a pair", PreferenceLoss.dpo)
    # TRL's default for DPO; NeMo-Aligner calls it ref_policy_kl_penalty; SimPO's paper takes 2 to 2.5.
    beta: float = key("how much a reward counts per nat of log-probability", 0.1, above=0)
    label_smoothing: float = key(
        "fraction of the pairs that are taken to be labelled the wrong way round", 0.0, at_least=0, below=0.5
    )
    # TRL's default (trl/experimental/cpo/cpo_config.py); the paper takes 0.3 to 1.6 beside its beta.
    simpo_gamma: float = key("reward by which simpo wants the chosen response to lead", 0.5, at_least=0)
    gt_reward_scale: float = key("factor on the pair's own rewards in the rpo losses", 1.0, above=0)
    preference_loss_weight: float = key("weight of the preference loss", 1.0, at_least=0)
    sft_loss_weight: float = key(
        "weight of the negative log-probability of the chosen response; orpo has 1", 0.0, at_least=0
    )
    average_log_probs: bool | None = key(
        "a response counts by the mean over its tokens, not the sum; null: true for ipo, simpo and orpo", None
    )

    def __post_init__(self) -> None:
        if self.label_smoothing and self.loss not in _SMOOTHED:
            raise UserError(f"label_smoothing: loss={self.loss.name} has none; dpo and simpo have")
        self._check_weights()
        if self.average_log_probs is False and self.loss in _REFERENCE_FREE:
            raise UserError(f"average_log_probs: loss={self.loss.name} is defined on means; leave the key out")

    def _check_weights(self) -> None:
        if not self.preference_loss_weight and not self.sft_loss_weight:
            raise UserError("preference_loss_weight: it and sft_loss_weight are both 0; nothing would be learnt")
        if self.loss is PreferenceLoss.orpo and not self.sft_loss_weight:
            raise UserError("sft_loss_weight: orpo is defined with the likelihood of the chosen; set it to 1")

    @property
    def mean_log_probs(self) -> bool:
        """Whether the log-probability of a response is the mean over its tokens; their sum otherwise."""
        return self.loss.takes_mean if self.average_log_probs is None else self.average_log_probs
