"""Log-probabilities are those of the responses, however pairs are spread over rows."""

import numpy as np
import pytest
import torch

from megatron_redone.datasets.pair_rows import pair_rows
from megatron_redone.datasets.preference_pairs import Pair
from megatron_redone.objectives.responses import response_log_probs, response_losses
from tests.helpers.masked_data import random_pairs
from tests.helpers.one_process import LossTable, row_placer

VOCAB = 50


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("rows", [[[0, 1, 2, 3]], [[2], [0, 3], [1]], [[], [3, 2, 1, 0]]])
def test_sums_over_each_response(rows: list[list[int]], share: bool) -> None:
    zeros = np.zeros(2, np.float32)
    pairs = [
        Pair(number=number, chosen=chosen, rejected=rejected, reference=zeros, rewards=zeros,
             shared=max(int(np.argmax(chosen[1])) - 1, 0) if share else 0)
        for number, (chosen, rejected) in enumerate(random_pairs(4, VOCAB, seed=1))
    ]  # fmt: skip
    model, placer = LossTable(VOCAB), row_placer()
    placed = placer.place(pair_rows([[pairs[item] for item in row] for row in rows], 320))
    found = response_log_probs(placed, response_losses(model, placed), placer.context)
    order = [item for row in rows for item in row]
    expected = [
        -float(model.table[torch.from_numpy(ids[mask == 1].astype(np.int64))].sum().detach())
        for item in order
        for ids, mask in (pairs[item].chosen, pairs[item].rejected)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
