"""Fingerprints: what counts as the same text, and shingles whose overlap is the Jaccard similarity."""

import numpy as np
import pytest

from megatron_redone.curation.fingerprint import normal_form, shingle_sets, shingles, text_hash
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


def test_a_text_shorter_than_a_shingle_has_its_units_and_those_of_three_characters() -> None:
    assert len(shingles("四个字啊", 5)) == 4 + 2
    assert len(shingles("啊", 5)) == 1 + 1 and len(shingles("", 5)) == 1
    assert shingles("五个字了啊", 5).shape == (1,) and shingles("五个字了啊", 5).dtype == np.uint32
    assert not set(shingles("四个字啊", 5).tolist()) & set(shingles("四个字啊四个字啊", 5).tolist())


@pytest.mark.parametrize("ngram", [1, 5])
def test_sets_of_many_texts_are_those_of_each(ngram: int) -> None:
    """No shingle reaches from one text into the next."""
    texts = [
        "one two three four five six",
        "好",
        "",
        "seven eight",
        "one two three four five six seven",
        "吃了吗吃了吗吃了吗",
    ]
    forms = [normal_form(text) for text in texts]
    together = shingle_sets(forms, ngram)
    assert len(together.sizes) == len(texts) and together.sizes.sum() == len(together.values)
    parts = np.split(together.values, np.cumsum(together.sizes)[:-1])
    for form, part in zip(forms, parts, strict=True):
        assert part.tolist() == shingle_sets([form], ngram).values.tolist()
