"""Losses on pairs of responses, as functions of their log-probabilities and of nothing else.

P is the number of pairs. Losses come one for each pair, so that the caller can take the mean over the
pairs of the global batch, whatever rows and ranks they sat on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from megatron_redone.config.preference import PreferenceLoss, PreferenceLossConfig


@dataclass(frozen=True, kw_only=True)
class PairScores:
    """What is known of P pairs; every tensor is float32 [P].

    Attributes:
        policy_chosen: Log-probability of the chosen response under the model that is trained, in nats: the
            sum over its tokens, or their mean (`PreferenceLossConfig.mean_log_probs`).
        policy_rejected: The same of the rejected response.
        reference_chosen: The same under the reference model; None for a loss that needs no reference.
        reference_rejected: The same of the rejected response.
        chosen_reward: How good the chosen response is; None where the loss does not ask for it.
        rejected_reward: How good the rejected one is, on the same scale.
    """

    policy_chosen: torch.Tensor
    policy_rejected: torch.Tensor
    reference_chosen: torch.Tensor | None = None
    reference_rejected: torch.Tensor | None = None
    chosen_reward: torch.Tensor | None = None
    rejected_reward: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class PairLosses:
    """The losses of P pairs; every tensor is float32 [P].

    Attributes:
        total: What is minimised, with the weights of the configuration.
        preference: The preference loss alone, detached.
        sft: The negative log-probability of the chosen response, detached.
        chosen_reward: The implicit reward of the chosen response, detached: beta times its log-probability
            under the policy, less that under the reference where there is one.
        rejected_reward: The same of the rejected response.
    """

    total: torch.Tensor
    preference: torch.Tensor
    sft: torch.Tensor
    chosen_reward: torch.Tensor
    rejected_reward: torch.Tensor


def pair_losses(config: PreferenceLossConfig, scores: PairScores) -> PairLosses:
    """The losses and rewards of some pairs.

    Args:
        config: Which loss, and its constants.
        scores: Log-probabilities with a graph behind those of the policy.
    """
    chosen, rejected = _log_ratios(config.loss, scores)
    preference = _LOSSES[config.loss](config, scores, chosen - rejected)
    sft = -scores.policy_chosen
    total = config.preference_loss_weight * preference
    if config.sft_loss_weight:
        total = total + config.sft_loss_weight * sft
    return PairLosses(
        total=total,
        preference=preference.detach(),
        sft=sft.detach(),
        chosen_reward=config.beta * chosen.detach(),
        rejected_reward=config.beta * rejected.detach(),
    )


def _log_ratios(loss: PreferenceLoss, scores: PairScores) -> tuple[torch.Tensor, torch.Tensor]:
    """log(policy / reference) of chosen and rejected, or log(policy) for a loss without a reference."""
    if not loss.needs_reference:
        return scores.policy_chosen, scores.policy_rejected
    assert scores.reference_chosen is not None and scores.reference_rejected is not None, f"{loss} needs a reference"
    return scores.policy_chosen - scores.reference_chosen, scores.policy_rejected - scores.reference_rejected


def _dpo(config: PreferenceLossConfig, scores: PairScores, delta: torch.Tensor) -> torch.Tensor:
    """Direct preference optimisation, arXiv 2305.18290 eq. 7; smoothed: https://ericmitchell.ai/cdpo.pdf eq. 3."""
    return _smoothed_logistic(config.beta * delta, config.label_smoothing)


def _ipo(config: PreferenceLossConfig, scores: PairScores, delta: torch.Tensor) -> torch.Tensor:
    """Identity preference optimisation, arXiv 2310.12036 eq. 17; beta is the paper's tau."""
    return (delta - 1 / (2 * config.beta)) ** 2


def _hinge(config: PreferenceLossConfig, scores: PairScores, delta: torch.Tensor) -> torch.Tensor:
    """Hinge loss on the normalised likelihood, SLiC (arXiv 2305.10425) in the form of RSO (arXiv 2309.06657)."""
    return torch.relu(1 - config.beta * delta)


def _rpo_bwd_kl(config: PreferenceLossConfig, scores: PairScores, delta: torch.Tensor) -> torch.Tensor:
    """Reward-aware preference optimisation (Nemotron-4 340B, arXiv 2406.11704): KL(rewards' odds || policy's).

    Formula and name as in NeMo-Aligner, nemo_aligner/models/nlp/gpt/megatron_gpt_dpo_model.py, `loss_func`.
    """
    return _bernoulli_kl(_reward_margin(config, scores), config.beta * delta)


def _rpo_fwd_kl(config: PreferenceLossConfig, scores: PairScores, delta: torch.Tensor) -> torch.Tensor:
    """KL(policy's odds || rewards' odds); source as for `_rpo_bwd_kl`."""
    return _bernoulli_kl(config.beta * delta, _reward_margin(config, scores))


def _rpo_sq(config: PreferenceLossConfig, scores: PairScores, delta: torch.Tensor) -> torch.Tensor:
    """Squared distance of the policy's margin from the rewards'; source as for `_rpo_bwd_kl`."""
    return (config.beta * delta - _reward_margin(config, scores)) ** 2


def _simpo(config: PreferenceLossConfig, scores: PairScores, delta: torch.Tensor) -> torch.Tensor:
    """Simple preference optimisation, arXiv 2405.14734 eq. 6."""
    return _smoothed_logistic(config.beta * delta - config.simpo_gamma, config.label_smoothing)


def _orpo(config: PreferenceLossConfig, scores: PairScores, delta: torch.Tensor) -> torch.Tensor:
    """Odds ratio preference optimisation, arXiv 2403.07691 eqs. 4 and 7; beta is the paper's lambda."""
    odds = delta - (_log1mexp(scores.policy_chosen) - _log1mexp(scores.policy_rejected))
    return -config.beta * logsigmoid(odds)


_LOSSES: dict[PreferenceLoss, Callable[[PreferenceLossConfig, PairScores, torch.Tensor], torch.Tensor]] = {
    PreferenceLoss.dpo: _dpo,
    PreferenceLoss.ipo: _ipo,
    PreferenceLoss.hinge: _hinge,
    PreferenceLoss.rpo_bwd_kl: _rpo_bwd_kl,
    PreferenceLoss.rpo_fwd_kl: _rpo_fwd_kl,
    PreferenceLoss.rpo_sq: _rpo_sq,
    PreferenceLoss.simpo: _simpo,
    PreferenceLoss.orpo: _orpo,
}


def _smoothed_logistic(margin: torch.Tensor, smoothing: float) -> torch.Tensor:
    return -logsigmoid(margin) * (1 - smoothing) - logsigmoid(-margin) * smoothing


def _reward_margin(config: PreferenceLossConfig, scores: PairScores) -> torch.Tensor:
    assert scores.chosen_reward is not None and scores.rejected_reward is not None, f"{config.loss} needs rewards"
    return config.gt_reward_scale * (scores.chosen_reward - scores.rejected_reward)


def _bernoulli_kl(of: torch.Tensor, relative_to: torch.Tensor) -> torch.Tensor:
    """KL divergence between two coins that are given by their log-odds."""
    heads, tails = logsigmoid(of), logsigmoid(-of)
    return heads.exp() * (heads - logsigmoid(relative_to)) + tails.exp() * (tails - logsigmoid(-relative_to))


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) of negative x.

    From which side of -ln 2 to take which form: M. Maechler, "Accurately computing log(1 - exp(-|a|))". Both
    forms are computed for every x. Where a form is not the one taken, its argument is clamped to a value at which its
    gradient is finite: a NaN there would spread to the result. A response of probability 1, whose odds are infinite,
    is clamped likewise.
    """
    split = -0.6931471805599453
    small, large = x.clamp(max=split), x.clamp(split, -torch.finfo(x.dtype).eps)
    return torch.where(x < split, torch.log1p(-small.exp()), torch.log(-torch.expm1(large)))
