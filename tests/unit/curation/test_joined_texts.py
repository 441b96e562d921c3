"""What is told of many texts at once is what each of them would be told."""

import random
import re

import pytest

pytest.importorskip("ahocorasick_rs")
pytest.importorskip("phonenumbers")

from megatron_redone.curation import advertising, personal_data, personal_signs
from megatron_redone.curation.folding import fold
from megatron_redone.curation.joined_texts import Words, starts_of, texts_with

WORDS = ["text", "q:", "微信", "dm ", "for sub", "+v", "aa", "aab"]
# Pieces of everything that is looked for, and of what comes near it.
PIECES = [
    "加v", "微❤信", "v", "信", "扣", "q", "qq", "Q：", "１２３４５６", "123", "45", "-", ".", " ", "\n", "@", "@user",
    " at ", "dot", "(at)", "a.com", "http://", "t.cn/", "／", "www.", "WWW.", "abc_1", "微信", "telegram", "TG", "what",
    "app", "line id:", "snap", "me", "for info", "138", "0000", "一三八", "京A", "12345", "北京路", "12号", "3栋",
    "12 Main St", "8.8.8.8", "İ", "ﬁ", "Σ", "e\u0301", "好", "~ser", "buy now", "porn", "sexy",
]  # fmt: skip


def some_text(rng: random.Random) -> str:
    return "".join(rng.choices(PIECES, k=rng.randint(0, 7))).strip()


def test_words_are_found_where_they_stand() -> None:
    rng = random.Random(0)
    words = Words(WORDS)
    for _ in range(3000):
        text = "".join(rng.choices("textqdm 微信forsub+v:aab", k=rng.randint(0, 12))) + rng.choice(["", *WORDS])
        assert words.stand_in(text) == any(word in text for word in WORDS), text
        assert all(text.startswith(tuple(WORDS), place) for place in words.places(text)), text


def test_texts_are_those_in_which_each_search_finds_something() -> None:
    rng = random.Random(1)
    searches = [Words(WORDS).places, starts_of(re.compile(r"[0-9]{3}"))]
    for _ in range(300):
        texts = [some_text(rng) for _ in range(rng.randint(0, 20))]
        expected = {text for text in texts if any(search(fold(text)) for search in searches)}
        assert texts_with(searches, texts, fold) == expected


def test_a_text_with_the_border_in_it_makes_all_worth_a_look() -> None:
    assert texts_with([Words(["no"]).places], ["a\n\0\nb", "c"], str) == {"a\n\0\nb", "c"}


def test_nothing_is_found_in_texts_with_no_sign() -> None:
    rng = random.Random(2)
    texts = [some_text(rng) for _ in range(20_000)]
    plain = 0
    for start in range(0, len(texts), 200):
        some = texts[start : start + 200]
        for text in advertising.with_no_sign(some):
            assert advertising.link_fraction(text) == (0, 0.0) and advertising.find_advertising(text) is None, text
            plain += 1
        for text in personal_signs.with_no_sign(some):
            assert personal_data.find_personal_data(text) == [], text
            plain += 1
    assert plain > 2000
