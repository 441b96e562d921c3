"""Log-probabilities against transformers' logits of one row at a time, however rows are batched."""

from typing import Any

import numpy as np
import pytest

from megatron_redone.generation import log_probabilities as module
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import BatchLimits, Row, batches_by_length, log_probabilities
from tests.helpers.chat_models import token_losses

RANDOM = np.random.default_rng(0)
ROWS = [Row(RANDOM.integers(0, 400, length).tolist(), first) for length, first in [(9, 1), (30, 12), (2, 1), (17, 16)]]


@pytest.fixture(scope="module")
def expected(theirs: Any) -> list[float]:
    return [-token_losses(theirs, row.ids)[row.first - 1 :].sum().item() for row in ROWS]


@pytest.mark.parametrize("limits", [BatchLimits(1, 1), BatchLimits(4, 10_000), BatchLimits(2, 40)])
def test_sums_are_transformers_own_in_the_order_of_the_rows(
    chat_model: LoadedModel, expected: list[float], limits: BatchLimits
) -> None:
    seen: list[tuple[int, int]] = []
    found = log_probabilities(chat_model, ROWS, limits, lambda *progress: seen.append(progress))
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert seen[-1] == (4, 4) and seen == sorted(seen)


def test_logits_a_few_rows_at_a_time_are_the_same(
    chat_model: LoadedModel, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOGITS", 3 * 500)  # three rows of the vocabulary
    assert log_probabilities(chat_model, ROWS, BatchLimits(4, 10_000)).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("limits", [BatchLimits(1, 1), BatchLimits(8, 100), BatchLimits(1000, 512)])
def test_batches_hold_every_row_once_within_the_limits(limits: BatchLimits) -> None:
    lengths = RANDOM.integers(1, 90, 200).tolist()
    batches = list(batches_by_length(lengths, limits))
    assert sorted(number for batch in batches for number in batch) == list(range(200))
    for batch in batches:
        longest = max(lengths[number] for number in batch)
        assert len(batch) == 1 or (len(batch) <= limits.rows and len(batch) * longest <= limits.tokens)
    firsts = [lengths[batch[0]] for batch in batches]
    assert firsts == sorted(firsts, reverse=True), "what does not fit into memory fails at once"
    assert list(batches_by_length([], limits)) == []
