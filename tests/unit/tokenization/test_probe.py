"""The texts on which tokenizers are compared: always the same, of many scripts, and able to tell small things."""

import unicodedata

import pytest
from tokenizers import normalizers, pre_tokenizers

from megatron_redone.tokenization.probe import probe_texts
from tests.helpers import small_tokenizer


def test_texts_are_the_same_each_time_and_can_be_written() -> None:
    texts = probe_texts(["<s>"])
    assert texts == probe_texts(["<s>"])
    assert all(text.encode().decode() == text for text in texts)
    assert {"<s>"} <= set(texts) and any("<s><s>" in text for text in texts)
    assert not any("<s>" in text for text in probe_texts([]))


def test_every_large_script_is_there() -> None:
    letters = "".join(probe_texts([]))
    names = {unicodedata.name(letter, "").split(" ")[0] for letter in letters if letter.isalpha()}
    assert {
        "LATIN",
        "CJK",
        "CYRILLIC",
        "GREEK",
        "ARABIC",
        "HEBREW",
        "DEVANAGARI",
        "THAI",
        "HANGUL",
        "HIRAGANA",
    } <= names


@pytest.mark.parametrize(
    "change",
    [
        lambda tokenizer: setattr(tokenizer, "normalizer", normalizers.NFKC()),
        lambda tokenizer: setattr(tokenizer, "normalizer", normalizers.NFD()),
        lambda tokenizer: setattr(tokenizer, "normalizer", None),
        lambda tokenizer: setattr(tokenizer, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        lambda tokenizer: setattr(
            tokenizer, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        ),
    ],
)
def test_they_tell_a_tokenizer_from_one_that_differs_a_little(change, tmp_path) -> None:
    file = small_tokenizer.train(tmp_path) / "tokenizer.json"
    one, other = small_tokenizer.literal(file), small_tokenizer.literal(file)
    texts = probe_texts([])
    assert [one.encode(text).ids for text in texts] == [other.encode(text).ids for text in texts]
    change(other)
    assert [one.encode(text).ids for text in texts] != [other.encode(text).ids for text in texts]
