"""Leaving out the logits of labels that do not count changes neither the loss nor its gradient."""

import dataclasses

import pytest
import torch

from megatron_redone.objectives.language_modelling import LanguageModelling
from tests.helpers.one_process import LossTable, row_placer
from tests.helpers.runs import random_rows

VOCAB = 50


@pytest.mark.parametrize(
    ("counted", "is_selective"), [(0, True), (1, True), (10, True), (18, True), (19, False), (20, False)]
)
def test_the_loss_is_the_sum_over_the_labels_that_count(counted: int, is_selective: bool) -> None:
    loss_mask = torch.zeros(20)
    loss_mask[torch.randperm(20, generator=torch.Generator().manual_seed(counted))[:counted]] = 1.0
    batch = dataclasses.replace(random_rows(2, 10, VOCAB, 0), loss_mask=loss_mask.view(2, 10))
    objective, model = LanguageModelling(row_placer()), LossTable(VOCAB)
    losses, loss_function = objective.forward_step(iter([objective.row_placer.place(batch)]), model)
    assert losses.shape == ((counted,) if is_selective else (2, 10))
    total, count, report = loss_function(losses)
    total.backward()

    twin = LossTable(VOCAB)
    expected = (twin.table[batch.labels] * batch.loss_mask).sum()
    expected.backward()
    assert int(count) == counted and report["loss"].tolist() == pytest.approx([float(expected), counted])
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(model.table.grad, twin.table.grad)


@pytest.mark.parametrize("counted", [6, 20])
def test_weights_scale_losses_and_the_sum_is_divided_by_the_tokens_that_count(counted: int) -> None:
    random = torch.Generator().manual_seed(counted)
    weights = torch.zeros(20)
    weights[torch.randperm(20, generator=random)[:counted]] = torch.rand(counted, generator=random) * 0.9 + 0.1
    batch = dataclasses.replace(random_rows(2, 10, VOCAB, 0), loss_mask=weights.view(2, 10))
    objective, model = LanguageModelling(row_placer()), LossTable(VOCAB)
    losses, loss_function = objective.forward_step(iter([objective.row_placer.place(batch)]), model)
    total, count, report = loss_function(losses)
    expected = (LossTable(VOCAB).table[batch.labels].detach() * batch.loss_mask).sum()
    assert int(count) == counted and report["loss"].tolist() == pytest.approx([float(expected), counted])
    torch.testing.assert_close(total.detach(), expected)
