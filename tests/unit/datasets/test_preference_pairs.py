"""The pairs of a dataset come as they were written, in another order each epoch; those that do not fit count."""

from pathlib import Path

import numpy as np
import pytest

from megatron_redone.config.preference_data import TooLongPair
from megatron_redone.datasets.preference_pairs import PairStream
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from tests.helpers.masked_data import random_pairs, write_pairs

VOCAB = 500
PAIRS = random_pairs(40, VOCAB, seed=8)
REWARDS = np.random.default_rng(1).random((40, 2)).astype(np.float32)


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(write_pairs(tmp_path / "pairs", PAIRS, VOCAB, REWARDS))


def test_an_epoch_reads_every_pair_once_as_it_was_written(prefix: str) -> None:
    stream = PairStream(prefix, seq_length=200, shuffle=True, seed=3)
    epochs = [[stream.pair(40 * epoch + number).number for number in range(40)] for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(40)) and epochs[0] != epochs[1]
    for number in range(40):
        pair = stream.pair(number)
        for found, expected in zip((pair.chosen, pair.rejected), PAIRS[pair.number], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        assert np.array_equal(pair.rewards, REWARDS[pair.number]) and not pair.reference.any()
    assert stream.has_rewards and stream.pairs == 40


@pytest.mark.parametrize("share", [False, True])
def test_slots_are_those_that_a_row_needs(prefix: str, share: bool) -> None:
    stream = PairStream(prefix, seq_length=200, share_prompt=share)
    for number in range(40):
        (chosen, mask), (rejected, _) = PAIRS[number]
        prompt = int((mask == 0).sum())
        shared = prompt - 1 if share else 0  # its last token predicts both responses
        assert stream.pair(number).shared == shared
        assert stream.slots(number) == shared + (len(chosen) - 1 - shared) + (len(rejected) - 1 - shared)


def test_pairs_that_do_not_fit_are_counted_or_refused(prefix: str) -> None:
    slots = np.array([len(chosen[0]) + len(rejected[0]) - 2 for chosen, rejected in PAIRS])
    stream = PairStream(prefix, seq_length=60)
    assert (stream.samples_per_epoch, stream.dropped) == ((slots <= 60).sum(), (slots > 60).sum()) and stream.dropped
    assert f"(too long: {stream.dropped} left out)" in stream.describe()
    assert all(slots[stream.pair(number).number] <= 60 for number in range(stream.samples_per_epoch))
    with pytest.raises(UserError, match=f"{stream.dropped} pairs are longer than seq_length 60"):
        PairStream(prefix, seq_length=60, too_long=TooLongPair.refuse)
    with pytest.raises(UserError, match="no pair fits seq_length 1"):
        PairStream(prefix, seq_length=1)


def test_ids_and_empty_responses_are_named(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 500 ids, the model's vocabulary 400"):
        PairStream(prefix, seq_length=200, vocabulary=Vocabulary(size=400))
    (ids, mask), rejected = PAIRS[0]
    empty = write_pairs(tmp_path / "empty", [((ids, np.zeros_like(mask)), rejected)], VOCAB)
    with pytest.raises(UserError, match="pair 0 has an empty response; prepare the data again"):
        PairStream(str(empty), seq_length=200).pair(0)
