"""Whether a precision is reached, exactly at it too."""

from fractions import Fraction

import numpy as np

from megatron_redone.evaluation.ranked_draws import reaches


def test_a_precision_is_reached_exactly_where_fractions_say_so() -> None:
    for percent in range(1, 101):
        taken = np.arange(300.0)
        for more in (-1, 0, 1):
            hits = np.floor(taken * percent / 100) + more
            expected = [
                bool(t) and Fraction(int(h), int(t)) >= Fraction(percent, 100) for h, t in zip(hits, taken, strict=True)
            ]
            assert reaches(percent / 100, hits, taken).tolist() == expected, percent


def test_one_too_few_of_millions_is_too_few() -> None:
    taken = np.array([1e7, 1e7])
    assert reaches(0.55, np.array([5.5e6 - 1, 5.5e6]), taken).tolist() == [False, True]
