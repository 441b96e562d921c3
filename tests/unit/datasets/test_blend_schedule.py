"""The bound is checked in whole numbers, place by place: |count * A - n * weight| < A."""

import time

import numpy as np
import pytest

from megatron_redone.datasets.blend_schedule import ScheduleCursor, integer_weights

RANDOM = np.random.default_rng(0)


def order(weights: list[int], length: int) -> list[int]:
    cursor = ScheduleCursor(weights)
    return [cursor.next()[0] for _ in range(length)]


def deviations(weights: list[int], sources: list[int]) -> np.ndarray:
    """`count * A - n * weight` at every place and source; exact while it fits into 64 bits."""
    assert max(weights) * len(sources) < 2**62
    hits = np.eye(len(weights), dtype=np.int64)[sources]
    places = np.arange(1, len(sources) + 1)[:, None]
    return hits.cumsum(0) * sum(weights) - places * np.array(weights)


def assert_within_one(weights: list[int], length: int) -> None:
    assert np.abs(deviations(weights, order(weights, length))).max() < sum(weights)


def random_weights(count: int, kind: int) -> list[int]:
    draws = [
        RANDOM.integers(1, 10, count).tolist(),
        RANDOM.integers(1, 10**9, count).tolist(),
        (RANDOM.pareto(0.5, count) * 1000 + 1).astype(np.int64).clip(1, 10**9).tolist(),
        [1] * (count - 1) + [10 * count],
    ]
    return draws[kind]


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("count", [1, 2, 3, 5, 17, 50])
def test_every_prefix_is_within_one_sample_of_the_shares(count: int, kind: int) -> None:
    for _ in range(3):
        assert_within_one(random_weights(count, kind), 4000)


def test_long_prefixes_of_fifty_sources() -> None:
    assert_within_one(random_weights(50, 1), 100_000)
    assert_within_one(random_weights(50, 2), 100_000)


def test_the_largest_deficit_would_not_do() -> None:
    """Why deadlines are needed: the common rule leaves the bound for these weights, ours does not."""
    weights = [50, 50, 3, 1, 1]
    total, counts, worst = sum(weights), [0] * len(weights), 0
    for n in range(1, 2000):
        pick = max(range(len(weights)), key=lambda i: n * weights[i] - counts[i] * total)
        counts[pick] += 1
        worst = max(worst, *(abs(n * w - c * total) for w, c in zip(weights, counts, strict=True)))
    assert worst >= total
    assert_within_one(weights, 2000)


def test_a_period_holds_every_weight_exactly() -> None:
    weights = integer_weights([0.7, 0.2, 0.1])
    assert weights == [7, 2, 1]
    sources = order(weights, 30)
    assert sources[:10] == sources[10:20] == sources[20:]
    assert [sources[:10].count(i) for i in range(3)] == weights


def test_weights_are_taken_as_written() -> None:
    assert integer_weights([0.1, 0.3]) == [1, 3]
    assert integer_weights([1e-7, 1]) == [1, 10**7]
    assert integer_weights([6, 4.0, 2]) == [3, 2, 1]
    assert integer_weights([99_700_000_000, 300_000_000]) == [997, 3]


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_any_place_is_reached_as_if_walked_to(count: int, kind: int) -> None:
    weights = random_weights(count, kind)
    walked = order(weights, 6000)
    for place in RANDOM.integers(0, 5900, 20).tolist():
        cursor = ScheduleCursor(weights)
        cursor.seek(place)
        assert cursor.counts == [walked[:place].count(i) for i in range(count)]
        assert [cursor.next()[0] for _ in range(100)] == walked[place : place + 100]


def test_seeking_back_and_forth_on_one_cursor() -> None:
    weights = [5, 3, 31, 2]
    walked, cursor = order(weights, 500), ScheduleCursor(weights)
    for place in (400, 3, 3, 4, 250, 0, 499):
        cursor.seek(place)
        assert cursor.next()[0] == walked[place]


def test_a_billion_samples_are_passed_in_well_under_a_second() -> None:
    weights = integer_weights([0.4, 0.3, 0.2 + 1e-7, 0.05, 0.0499, 1e-4])
    cursor, start = ScheduleCursor(weights), time.perf_counter()
    cursor.seek(10**9)
    assert time.perf_counter() - start < 0.5
    total = sum(weights)
    for count, weight in zip(cursor.counts, weights, strict=True):
        assert abs(count * total - 10**9 * weight) < total
