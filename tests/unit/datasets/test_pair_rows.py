"""Pairs are spread over as few rows as hold them, equally many on every rank, and none is lost or torn apart."""

from pathlib import Path

import numpy as np
import pytest

from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.pair_rows import RowPlan, pair_rows
from megatron_redone.datasets.preference_pairs import PairStream
from tests.helpers.masked_data import random_pairs, write_pairs

VOCAB = 500


@pytest.fixture
def stream(tmp_path: Path) -> PairStream:
    prefix = write_pairs(tmp_path / "pairs", random_pairs(24, VOCAB, seed=6), VOCAB, np.random.rand(24, 2))
    return PairStream(str(prefix), seq_length=256, share_prompt=True)


@pytest.mark.parametrize("unit", [1, 2, 6])
@pytest.mark.parametrize("seed", range(3))
def test_rows_hold_every_item_and_are_not_too_long(unit: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 200, 40).tolist()
    rows, length = RowPlan(256, ParallelConfig()).rows(lengths, unit)
    assert sorted(item for row in rows for item in row) == list(range(40)) and len(rows) % unit == 0
    longest = max(sum(lengths[item] for item in row) for row in rows)
    assert longest <= length <= 256 and length % 64 == 0
    assert len(rows) <= unit * (-(-2 * sum(lengths) // (256 * unit)) + 1), "more rows than twice the fewest"


def test_a_row_is_no_longer_than_it_needs_to_be() -> None:
    plan = RowPlan(4096, ParallelConfig())
    assert plan.rows([10, 20], 1) == ([[1, 0]], 64) and plan.rows([65], 1)[1] == 128
    assert plan.rows([], 2) == ([[], []], 64)
    assert RowPlan(100, ParallelConfig()).rows([99], 1)[1] == 100


def test_ranks_read_the_same_number_of_rows_and_every_pair_once(stream: PairStream) -> None:
    samples = [(stream, number) for number in range(24)]
    numbers = []
    for rank in range(2):
        slices = BatchSlice(global_batch_size=24, micro_batch_size=2, data_parallel_size=2, data_parallel_rank=rank)
        batches = list(RowPlan(256, ParallelConfig())(samples, slices))
        assert batches and len({batch.tokens.shape for batch in batches}) == 1
        numbers.append([batch.pairs.numbers.tolist() for batch in batches])
    assert len(numbers[0]) == len(numbers[1])
    assert sorted(number for rank in numbers for batch in rank for number in batch) == list(range(24))


def test_columns_belong_to_their_pairs(stream: PairStream) -> None:
    pairs = [stream.pair(number) for number in (5, 2, 9)]
    batch = pair_rows([pairs[:2], pairs[2:]], 256)
    columns = batch.pairs
    assert columns is not None and columns.numbers.tolist() == [5, 2, 9]
    assert np.allclose(columns.rewards, np.stack([pair.rewards for pair in pairs]))
    responses, mask = columns.responses[0].numpy(), batch.loss_mask[0].numpy() == 1
    for number, pair in enumerate(pairs):
        for side, (ids, trained) in enumerate((pair.chosen, pair.rejected)):
            own = mask & (responses == 2 * number + side)
            assert (batch.labels[0].numpy()[own] == ids[trained == 1]).all()
            assert own.sum() == trained.sum() == columns.lengths[2 * number + side]


def test_rows_are_as_long_as_a_recipe_of_fp8_wants_them() -> None:
    """Under tensor parallelism of 2 a rank has half of a row: 128 of its tokens are 256 of the row."""
    layout = ParallelConfig(tensor_model_parallel_size=2, sequence_parallel=True)
    assert RowPlan(4096, layout).rows([65], 1)[1] == 128
    assert RowPlan(4096, layout, 128).rows([65], 1)[1] == 256
    assert RowPlan(4096, layout, 128).rows([257], 1)[1] == 512
