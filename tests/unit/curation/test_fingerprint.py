"""Fingerprints: what counts as the same text, and shingles whose overlap is the Jaccard similarity."""

import numpy as np
import pytest

from megatron_redone.curation.fingerprint import normal_form, shingles, text_hash
from megatron_redone.curation.scripts import units

SAME = [
    ("RT @anyone: Good morning https://t.co/a1", "good  morning"),
    ("转发微博 今天好热", "今天好热"),
    ("ＡＢＣ，１２３", "abc,123"),
    ("@a @b thanks!", "Thanks!"),
]
DIFFERENT = [("???", "!!!"), ("😂😂", "😂"), ("https://t.co/a", "https://t.co/b"), ("@a", "@b"), ("好", "好！")]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_reposts_and_styles_are_the_same_text(a: str, b: str) -> None:
    assert normal_form(a) == normal_form(b)
    assert text_hash(a) == text_hash(b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_short_texts_do_not_collapse(a: str, b: str) -> None:
    assert text_hash(a) != text_hash(b)


def test_the_seed_changes_the_hash() -> None:
    assert text_hash("x", 0) != text_hash("x", 1)


@pytest.mark.parametrize("ngram", [1, 3, 5])
def test_shingles_overlap_as_the_sets_of_ngrams_do(ngram: int) -> None:
    a = "昨天在湖边吃了一碗面 and it was the best bowl of noodles this year"
    b = "昨天在湖边又吃了一碗面 and it was the best bowl of noodles this month"
    sets = []
    for text in (a, b):
        words = units(text)
        sets.append({tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)})
    hashed = [set(shingles(text, ngram).tolist()) for text in (a, b)]
    assert [len(found) for found in hashed] == [len(found) for found in sets]
    assert len(hashed[0] & hashed[1]) == len(sets[0] & sets[1])


def test_a_text_shorter_than_a_shingle_has_none() -> None:
    assert shingles("四个字啊", 5).shape == (0,)
    assert shingles("五个字了啊", 5).dtype == np.uint64
    assert shingles("五个字了啊", 5).shape == (1,)
