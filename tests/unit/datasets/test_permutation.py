"""A permutation is right when it is one to one, and good when it is hard to tell from chance."""

import itertools
import tracemalloc

import numpy as np
import pytest

from megatron_redone.datasets.permutation import Permutation

SIZES = [1, 2, 3, 5, 7, 64, 999, 4095, 4096, 4097, 8191, 10_007, 65_537, 100_001]


def shuffled(n: int, *key: int) -> np.ndarray:
    return Permutation(n, *key).many(np.arange(n))


@pytest.mark.parametrize("n", SIZES)
def test_it_is_a_bijection_and_scalars_agree_with_arrays(n: int) -> None:
    permutation = Permutation(n, 3, 0)
    order = permutation.many(np.arange(n))
    assert np.array_equal(np.sort(order), np.arange(n))
    places = range(n) if n < 5000 else range(0, n, 97)
    assert [permutation(i) for i in places] == order[list(places)].tolist()


def test_every_permutation_of_four_is_equally_likely() -> None:
    draws = 24_000
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for seed in range(draws):
        counts[tuple(shuffled(4, seed).tolist())] += 1
    # Chi-square with 23 degrees of freedom passes 49.7 once in a thousand.
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 49.7


@pytest.mark.parametrize("n", [4097, 12_345, 65_536, 100_001])
def test_places_and_numbers_are_unrelated(n: int) -> None:
    """How often tenths of the places hold tenths of the numbers, against the expected equal share."""
    order = shuffled(n, 11, 2)
    table = np.histogram2d(np.arange(n), order, bins=10)[0]
    chi_square = ((table - n / 100) ** 2 / (n / 100)).sum()
    assert 40 < chi_square < 135  # 81 degrees of freedom; the bounds are passed about once in ten thousand
    assert abs(np.corrcoef(np.arange(n - 1), np.diff(order) > 0)[0, 1]) < 5 / np.sqrt(n)
    # A uniform permutation has one fixed point on average, and leaves about one pair of neighbours together.
    assert (order == np.arange(n)).sum() < 8 and (np.diff(order) == 1).sum() < 8


@pytest.mark.parametrize("n", [50, 20_000])
def test_seed_epoch_and_size_change_the_order(n: int) -> None:
    orders = [shuffled(n, 1, 0), shuffled(n, 1, 1), shuffled(n, 2, 0), shuffled(n + 1, 1, 0)[:n]]
    for one, other in itertools.combinations(orders, 2):
        assert (one == other).mean() < 0.2


def test_the_order_is_the_same_everywhere() -> None:
    """Written down once: another machine or library version must not shuffle a resumed run anew."""
    assert shuffled(8, 1234, 0).tolist() == [3, 5, 1, 6, 2, 7, 0, 4]
    permutation = Permutation(10**12 + 39, 1234, 7)
    expected = [584892441826, 654070477801, 986732670936]
    assert [permutation(i) for i in (0, 1, 10**12)] == expected
    assert permutation.many(np.array([0, 1, 10**12])).tolist() == expected


def test_memory_is_constant() -> None:
    tracemalloc.start()
    permutation = Permutation(10**15, 1)
    for i in range(1000):
        permutation(i * 10**12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
