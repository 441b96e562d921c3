"""Percentiles within classes: the mix stays as it was, and a random cut is as large."""

import numpy as np
import pytest

from megatron_redone.curation.quality.classes import OTHERS, classify, cut

BORDERS = [32, 96, 320]


def texts(seed: int = 0, n: int = 5000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Languages, letters, scores that depend on both, and draws."""
    rng = np.random.default_rng(seed)
    languages = rng.choice(["en", "zh", "fi", "id"], n, p=[0.6, 0.37, 0.02, 0.01])
    letters = rng.integers(5, 800, n)
    scores = rng.normal(3, 0.5, n) + 2 * (languages == "zh") + 20 / letters
    return languages, letters, scores, rng.integers(0, 1 << 63, n, np.uint64)


def test_every_class_loses_the_same_fraction_whatever_its_scores() -> None:
    languages, letters, scores, draws = texts()
    classes = classify(languages, letters, BORDERS, 100)
    found = cut(classes, scores, draws, 0.1, 0.7)
    for number in range(len(classes.names)):
        inside = classes.numbers == number
        assert inside.sum() >= 100
        assert abs(found.kept[inside].sum() - 0.6 * inside.sum()) <= 1
        assert found.drawn[inside].sum() == found.kept[inside].sum()
        kept, gone = scores[inside & found.kept], scores[inside & ~found.kept]
        assert not ((gone > kept.min()) & (gone < kept.max())).any()
    assert 0.5 < (found.drawn & found.kept).sum() / found.kept.sum() < 0.7  # drawn without regard to the score


def test_rare_languages_are_taken_together_and_few_documents_join_the_next_length() -> None:
    languages, letters, _, _ = texts(n=3000)
    names = classify(languages, letters, BORDERS, 60).names
    assert names[:4] == ["en 0-31", "en 32-95", "en 96-319", "en 320-"]
    assert [name for name in names if name.startswith(OTHERS)] == [f"{OTHERS} 0-"]
    few = classify(np.array(["en"] * 10), np.arange(10) * 60, BORDERS, 4)
    assert few.names == ["en 0-319", "en 320-"]
    assert few.numbers.tolist() == [0] * 6 + [1] * 4


def test_a_cut_does_not_depend_on_the_order_of_documents() -> None:
    languages, letters, scores, draws = texts(3)
    scores = scores.round(1)  # many are equal
    order = np.random.default_rng(1).permutation(len(scores))
    one = cut(classify(languages, letters, BORDERS, 50), scores, draws, 0.2, 0.9)
    other = cut(classify(languages[order], letters[order], BORDERS, 50), scores[order], draws[order], 0.2, 0.9)
    assert np.array_equal(one.kept[order], other.kept)
    assert np.array_equal(one.drawn[order], other.drawn)


@pytest.mark.parametrize("n", [0, 1])
def test_few_documents_are_no_trouble(n: int) -> None:
    classes = classify(np.array(["en"] * n, np.str_), np.full(n, 50), BORDERS, 100)
    found = cut(classes, np.zeros(n), np.zeros(n, np.uint64), 0.0, 0.9)
    assert found.kept.tolist() == [True] * n
