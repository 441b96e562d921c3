"""Preference optimisation: a loss for each pair, and its mean over the pairs of the global batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from megatron_redone.batches.row_placer import RowPlacer, Rows
from megatron_redone.config.preference import PreferenceLossConfig
from megatron_redone.objectives.objective import LossFunction, Report
from megatron_redone.objectives.preference_losses import PairScores, pair_losses
from megatron_redone.objectives.responses import pairs_of, response_log_probs, response_losses


@dataclass(frozen=True)
class PreferenceObjective:
    """Micro-batches are rows of pairs."""

    loss_is_per_token: ClassVar[bool] = False

    loss: PreferenceLossConfig
    row_placer: RowPlacer

    def forward_step(self, batches: Iterator[Rows], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        """Losses of the responses' tokens from the last stage, and how they become the pairs' losses."""
        rows = next(batches)
        return response_losses(chunk, rows), partial(self._sum_loss, rows)

    def _sum_loss(self, rows: Rows, token_losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Report]:
        context, pairs = self.row_placer.context, pairs_of(rows)
        policy = response_log_probs(rows, token_losses, context)
        reference, rewards = pairs.reference, pairs.rewards
        if self.loss.mean_log_probs:
            policy = policy / pairs.lengths
            reference = reference / pairs.lengths.view(-1, 2)
        policy = policy.view(-1, 2)
        losses = pair_losses(
            self.loss,
            PairScores(
                policy_chosen=policy[:, 0],
                policy_rejected=policy[:, 1],
                reference_chosen=reference[:, 0],
                reference_rejected=reference[:, 1],
                chosen_reward=rewards[:, 0],
                rejected_reward=rewards[:, 1],
            ),
        )
        margin = losses.chosen_reward - losses.rejected_reward
        report = {
            "loss": losses.total,
            "preference_loss": losses.preference,
            "sft_loss": losses.sft,
            "reward_chosen": losses.chosen_reward,
            "reward_rejected": losses.rejected_reward,
            "margin": margin,
            "accuracy": (margin > 0).float(),
            "log_prob_chosen": policy[:, 0],
            "log_prob_rejected": policy[:, 1],
        }
        if self.loss.loss.needs_reference:
            # Exact for responses that the policy itself has written; of others it tells how far it has moved.
            report["kl_estimate"] = (policy - reference).mean(1)
        # Every context rank has computed every pair: one of them counts.
        counts = float(context.context_rank == 0)
        count = policy.new_full((), counts * len(policy))  # filled on the device: no copy to wait for
        # Where all rows are padding, nothing but the graph itself is left to differentiate.
        total = losses.total.sum() + 0.0 * token_losses.sum()
        return total, count.to(torch.int32), {name: _sum(values, counts, count) for name, values in report.items()}


def _sum(values: torch.Tensor, counts: float, count: torch.Tensor) -> torch.Tensor:
    return torch.stack([values.detach().sum() * counts, count])
