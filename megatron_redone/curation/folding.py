"""A text as it is compared with others: one form for what differs in width, style or case only."""

import unicodedata
from functools import lru_cache

# Several steps ask about each text, some hundred texts apart; texts of books are not remembered.
_REMEMBERED = 1024
_LONGEST_REMEMBERED = 2000

# The marks of Chinese, which nearly every Chinese text has. What NFKC makes of each stands by itself, so that they can
# go first: a text that is in NFKC then is told to be so ten times as fast as it is brought there.
_MARKS = [(mark, unicodedata.normalize("NFKC", mark)) for mark in "，！？：；（）～…％\u3000"]


def folded(text: str) -> str:
    """NFKC in lower case, remembered for a while."""
    if text.isascii():
        return text.lower()
    return fold(text) if len(text) > _LONGEST_REMEMBERED else _remembered(text)


def fold(text: str) -> str:
    """NFKC in lower case, computed anew."""
    for wide, narrow in _MARKS:
        if wide in text:
            text = text.replace(wide, narrow)
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    return text.lower()


_remembered = lru_cache(_REMEMBERED)(fold)
