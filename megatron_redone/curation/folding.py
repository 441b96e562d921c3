"""A text as it is compared with others: one form for what differs in width, style or case only."""

import unicodedata
from functools import lru_cache

# Several steps ask about each text, some hundred texts apart; texts of books are not remembered.
_REMEMBERED = 1024
_LONGEST_REMEMBERED = 2000


def folded(text: str) -> str:
    """NFKC in lower case."""
    if text.isascii():
        return text.lower()
    return _folded(text) if len(text) > _LONGEST_REMEMBERED else _remembered(text)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


_remembered = lru_cache(_REMEMBERED)(_folded)
