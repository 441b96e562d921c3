"""The objective hands each loss what it is defined on: sums or means, of the policy and of the reference alike."""

import numpy as np
import pytest
import torch

from megatron_redone.config.preference import PreferenceLoss, PreferenceLossConfig
from megatron_redone.datasets.pair_rows import pair_rows
from megatron_redone.datasets.preference_pairs import Pair
from megatron_redone.objectives.preference import PreferenceObjective
from tests.helpers.masked_data import random_pairs
from tests.helpers.one_process import LossTable, row_placer

VOCAB, BETA = 50, 0.3
REFERENCE = np.array([[-20.0, -31.0], [-8.0, -15.0], [-12.0, -3.0]], np.float32)


@pytest.fixture
def pairs() -> list[Pair]:
    return [
        Pair(number=number, chosen=chosen, rejected=rejected, shared=0, reference=REFERENCE[number],
             rewards=np.array([1.0, number / 2], np.float32))
        for number, (chosen, rejected) in enumerate(random_pairs(3, VOCAB, seed=4))
    ]  # fmt: skip


def by_hand(pairs: list[Pair], table: torch.Tensor, mean: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of policy and reference, [P, 2]."""
    policy, reference = torch.zeros(len(pairs), 2), torch.from_numpy(REFERENCE.copy())
    for number, pair in enumerate(pairs):
        for side, (ids, mask) in enumerate((pair.chosen, pair.rejected)):
            response = torch.from_numpy(ids[mask == 1].astype(np.int64))
            policy[number, side] = -table[response].sum() / (len(response) if mean else 1)
            reference[number, side] /= len(response) if mean else 1
    return policy, reference


@pytest.mark.parametrize(
    ("loss", "average", "mean"),
    [("ipo", None, True), ("ipo", False, False), ("dpo", None, False), ("dpo", True, True), ("simpo", None, True)],
)
def test_losses_take_sums_or_means_of_both_models(
    pairs: list[Pair], loss: str, average: bool | None, mean: bool
) -> None:
    config = PreferenceLossConfig(loss=PreferenceLoss(loss), beta=BETA, average_log_probs=average)
    objective, model = PreferenceObjective(config, row_placer()), LossTable(VOCAB)
    rows = objective.row_placer.place(pair_rows([pairs[:2], pairs[2:]], 256))
    losses, loss_function = objective.forward_step(iter([rows]), model)
    total, count, report = loss_function(losses)

    policy, reference = by_hand(pairs, model.table.detach(), mean)
    ratios = policy - reference
    margin = ratios[:, 0] - ratios[:, 1]
    expected = {
        "ipo": (margin - 1 / (2 * BETA)) ** 2,
        "dpo": -torch.nn.functional.logsigmoid(BETA * margin),
        "simpo": -torch.nn.functional.logsigmoid(BETA * (policy[:, 0] - policy[:, 1]) - config.simpo_gamma),
    }[loss]
    assert int(count) == 3
    torch.testing.assert_close(total.detach(), expected.sum(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(report["log_prob_chosen"], torch.stack([policy[:, 0].sum(), torch.tensor(3.0)]))
    if config.loss.needs_reference:
        torch.testing.assert_close(report["kl_estimate"][0], ratios.mean(1).sum(), rtol=1e-5, atol=1e-5)
        assert report["accuracy"][0] == float((margin > 0).sum())
    total.backward()
    assert model.table.grad is not None and bool(model.table.grad.any())


def test_rows_of_padding_alone_have_a_graph_and_no_pairs() -> None:
    objective, model = PreferenceObjective(PreferenceLossConfig(), row_placer()), LossTable(VOCAB)
    losses, loss_function = objective.forward_step(iter([objective.row_placer.place(pair_rows([[]], 64))]), model)
    total, count, report = loss_function(losses)
    total.backward()
    assert int(count) == 0 and float(total) == 0.0 and not report["loss"].any()
    assert model.table.grad is not None and not model.table.grad.any()
