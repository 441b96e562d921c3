"""Scores lie in the row of their pair, whatever order micro-batches have; a pair that nobody scored is no number."""

from typing import Any

import numpy as np
import pytest
import torch

from megatron_redone.datasets.pair_rows import pair_rows
from megatron_redone.datasets.preference_pairs import Pair
from megatron_redone.objectives import micro_batches, response_scores
from megatron_redone.objectives.response_scores import score_pairs
from tests.helpers.masked_data import random_pairs
from tests.helpers.one_process import LossTable, row_placer

VOCAB, FIRST = 50, 7


def one_after_the_other(**keys: Any) -> list[Any]:
    """What megatron-core's schedule does in one process, forward only."""
    steps = (keys["forward_step_func"](keys["data_iterator"], keys["model"]) for _ in range(keys["num_microbatches"]))
    return [loss_function(output)[-1] for output, loss_function in steps]


def test_sums_and_tokens_are_those_of_each_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_batches, "get_forward_backward_func", lambda: one_after_the_other)
    monkeypatch.setattr(response_scores, "broadcast_from_last", lambda value, group: value)
    zeros = np.zeros(2, np.float32)
    pairs = [
        Pair(number=FIRST + number, chosen=chosen, rejected=rejected, shared=0, reference=zeros, rewards=zeros)
        for number, (chosen, rejected) in enumerate(random_pairs(5, VOCAB, seed=2))
    ]
    placer, model = row_placer(), LossTable(VOCAB)
    placer.context.groups.dp_cp = placer.context.groups.cp
    placer.context.groups.pp = None  # type: ignore[assignment]
    batches = [pair_rows([[pairs[number] for number in row]], 256) for row in ([4, 0], [2], [1])]
    sums, tokens = score_pairs([model], placer, batches, FIRST, 6)
    assert sums.dtype is torch.float32 and tokens.dtype is torch.int32
    for number in (3, 5):  # in no micro-batch
        assert bool(sums[number].isnan().all()) and not tokens[number].any()
    for number in (0, 1, 2, 4):
        for side, (ids, mask) in enumerate((pairs[number].chosen, pairs[number].rejected)):
            expected = -float(model.table[torch.from_numpy(ids[mask == 1].astype(np.int64))].sum().detach())
            assert float(sums[number, side]) == pytest.approx(expected, rel=1e-5)
            assert int(tokens[number, side]) == int(mask.sum())
    assert not sums.requires_grad
