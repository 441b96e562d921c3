"""The text that models are compared on where the user gives none."""

import unicodedata

from megatron_redone.conversion.sample_text import SAMPLE_TEXT
from tests.helpers import small_tokenizer


def test_it_is_long_enough_and_in_the_languages_of_our_users(tmp_path) -> None:
    ids = small_tokenizer.load(small_tokenizer.train(tmp_path), fast=False).encode(SAMPLE_TEXT)
    assert len(ids) > 500
    names = [unicodedata.name(letter).split()[0] for letter in SAMPLE_TEXT if letter.isalpha()]
    assert names.count("LATIN") > 500 and names.count("CJK") > 100
    assert any(letter.isdigit() for letter in SAMPLE_TEXT)


def test_it_is_normalised_and_ends_its_lines_as_texts_do() -> None:
    """A tokenizer that normalises and one that does not then read the same."""
    assert unicodedata.normalize("NFC", SAMPLE_TEXT) == SAMPLE_TEXT
    assert SAMPLE_TEXT.endswith("\n") and "\r" not in SAMPLE_TEXT and "\t" not in SAMPLE_TEXT
    assert all(line == line.rstrip() for line in SAMPLE_TEXT.splitlines())
