"""Preference optimisation: a loss for each pair, and its mean over the pairs of the global batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from megatron_redone.config.preference import PreferenceLossConfig
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.objectives.objective import Batch, LossFunction, Report
from megatron_redone.objectives.preference_losses import PairScores, pair_losses
from megatron_redone.objectives.responses import Responses


@dataclass(frozen=True)
class PreferenceObjective:
    """Micro-batches are those of `datasets.preference_batches.pair_rows`."""

    loss_is_per_token: ClassVar[bool] = False

    loss: PreferenceLossConfig
    context: ParallelContext
    packed_by_kernel: bool = False

    def forward_step(self, batches: Iterator[Batch], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        """Losses of the responses' tokens from the last stage, and how they become the pairs' losses."""
        batch = next(batches)
        responses = Responses(batch, self.context, self.packed_by_kernel)
        return responses.forward(chunk), partial(self._sum_loss, batch, responses)

    def _sum_loss(
        self, batch: Batch, responses: Responses, token_losses: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Report]:
        sums = responses.log_probabilities(token_losses)
        lengths = responses.lengths
        policy = (sums / lengths if self.loss.mean_log_probs else sums).view(-1, 2)
        reference, rewards = (batch[name].to(policy.device) for name in ("reference", "rewards"))
        if self.loss.mean_log_probs:
            reference = reference / lengths.view(-1, 2)
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
        counts = float(self.context.context_rank == 0)
        count = torch.tensor(counts * len(policy), device=policy.device)
        # Rows of padding alone leave nothing to differentiate but the graph itself.
        total = losses.total.sum() + 0.0 * token_losses.sum()
        return total, count.to(torch.int32), {name: _sum(values, counts, count) for name, values in report.items()}


def _sum(values: torch.Tensor, counts: float, count: torch.Tensor) -> torch.Tensor:
    return torch.stack([values.detach().sum() * counts, count])
