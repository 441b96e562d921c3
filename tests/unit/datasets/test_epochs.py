"""Every epoch holds every sample once, in an order that the seed and the epoch decide."""

import numpy as np
import pytest

from megatron_redone.config.data import BlendSource
from megatron_redone.config.sft_data import SftDataConfig
from megatron_redone.datasets.epochs import Epochs
from megatron_redone.datasets.packed_rows import PackedRows
from megatron_redone.datasets.preference_pairs import PairStream
from megatron_redone.datasets.token_stream import TokenStream
from tests.helpers.masked_data import random_conversations, random_pairs, write_conversations, write_pairs


def read(epochs: Epochs, first: int, count: int) -> list[int]:
    return [epochs(number) for number in range(first, first + count)]


@pytest.mark.parametrize("samples", [1, 2, 300, 5000])
def test_an_epoch_is_every_sample_once_and_no_two_epochs_or_seeds_are_alike(samples: int) -> None:
    orders = [
        tuple(read(Epochs(samples, seed=seed, shuffle=True), epoch * samples, samples))
        for seed in (0, 1)
        for epoch in (0, 1, 7)
    ]
    assert all(sorted(order) == list(range(samples)) for order in orders)
    if samples >= 300:
        assert len(set(orders)) == len(orders)
        assert all(order != tuple(range(samples)) for order in orders)


def test_without_shuffling_the_order_is_that_of_the_file_in_every_epoch() -> None:
    assert read(Epochs(4, seed=3, shuffle=False), 2, 8) == [2, 3, 0, 1, 2, 3, 0, 1]


def test_a_number_alone_decides_whatever_was_asked_before() -> None:
    asked = Epochs(50, seed=9, shuffle=True)
    numbers = np.random.default_rng(0).integers(0, 500, 200).tolist()
    assert [asked(number) for number in numbers] == [Epochs(50, seed=9, shuffle=True)(number) for number in numbers]


def test_every_stream_hands_its_seed_on(write_dataset, tmp_path) -> None:
    tokens = write_dataset([30] * 200)
    rows = str(write_conversations(tmp_path / "rows", random_conversations([9] * 200, 500, seed=1), 500))
    pairs = str(write_pairs(tmp_path / "pairs", random_pairs(60, 500, 2), 500))

    def packed(seed: int) -> PackedRows:
        config = SftDataConfig(blend=[BlendSource(path="a")], seq_length=32, seed=seed)
        return PackedRows(rows, config, shuffle=True)

    orders = {
        "tokens": lambda seed: [TokenStream(tokens, seq_length=16, seed=seed).position(n) for n in range(60)],
        "rows": lambda seed: [packed(seed).row(n)[0][0].tolist() for n in range(30)],
        "pairs": lambda seed: [
            PairStream(pairs, seq_length=4096, seed=seed, shuffle=True).pair(n).number for n in range(60)
        ],
    }
    for name, order in orders.items():
        assert order(1) == order(1) != order(2), name
