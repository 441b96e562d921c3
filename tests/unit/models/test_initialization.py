"""Drawn weights depend on the seed and the weight's name alone, and have the deviations of Megatron-LM."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from megatron_redone.models.initialization import _draw, _rows
from megatron_redone.models.shards import Shard


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2)


def shard(name: str, shape: tuple[int, int], dim: int | None, *ranges: tuple[int, int]) -> Shard:
    parameter = torch.nn.Parameter(torch.empty(0))
    return Shard(name=name, parameter=parameter, full_shape=shape, dim=dim, ranges=ranges)


def test_any_rows_are_those_of_the_whole(threads: ThreadPoolExecutor) -> None:
    whole = _rows("1/w", 0, 700, 5, 1.0, threads)
    for first, last in ((0, 1), (255, 257), (256, 512), (300, 700), (10, 10)):
        assert torch.equal(_rows("1/w", first, last, 5, 1.0, threads), whole[first:last])


def test_a_rank_s_part_is_that_of_the_whole_however_it_is_split(threads: ThreadPoolExecutor) -> None:
    whole = _draw(shard("w", (600, 8), None), 1.0, 3, threads)
    rows = _draw(shard("w", (600, 8), 0, (0, 20), (300, 320)), 1.0, 3, threads)
    columns = _draw(shard("w", (600, 8), 1, (2, 6)), 1.0, 3, threads)
    assert torch.equal(rows, torch.cat([whole[:20], whole[300:320]])) and torch.equal(columns, whole[:, 2:6])


def test_seed_and_name_count(threads: ThreadPoolExecutor) -> None:
    drawn = [_draw(shard(name, (4, 4), None), 1.0, seed, threads) for name, seed in (("a", 1), ("b", 1), ("a", 2))]
    assert not any(torch.equal(one, other) for one, other in ((drawn[0], drawn[1]), (drawn[0], drawn[2])))
    blocks = _draw(shard("a", (512, 4), None), 1.0, 1, threads)
    assert not torch.equal(blocks[:256], blocks[256:])


def test_the_deviation(threads: ThreadPoolExecutor) -> None:
    drawn = _draw(shard("a", (2000, 50), None), 0.02, 1, threads)
    assert float(drawn.std()) == pytest.approx(0.02, rel=0.02) and abs(float(drawn.mean())) < 0.02 / math.sqrt(1e4)
