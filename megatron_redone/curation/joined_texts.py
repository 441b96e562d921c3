"""Many texts searched as one: what stands in none of them is found to be missing in one go.

Most posts hold nothing of what a step looks for. Asking each of them takes longer than the looking does; of a few
hundred texts, joined, a search names those few that are worth a closer look.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import ahocorasick_rs

# A line feed, so that no pattern of one line reaches from a text into the next; and what stands in no cleaned text.
_BORDER = "\n\0\n"

Places = Callable[[str], Iterable[int]]
"""Where a text has what is looked for: the position of the first character of each."""


class Words:
    """Words that are looked for all at once (Aho and Corasick)."""

    def __init__(self, words: Iterable[str]) -> None:
        """Builds the automaton of some distinct words."""
        implementation = ahocorasick_rs.Implementation.DFA
        self._matches = ahocorasick_rs.AhoCorasick(list(words), implementation=implementation).find_matches_as_indexes

    def stand_in(self, text: str) -> bool:
        """Whether any of them does."""
        return bool(self._matches(text))

    def places(self, text: str) -> Iterable[int]:
        """Where they stand, but for those that begin inside of another one."""
        return [start for _, start, _ in self._matches(text)]


def starts_of(pattern: re.Pattern[str]) -> Places:
    """Where a pattern is found."""
    return lambda text: [match.start() for match in pattern.finditer(text)]


def texts_with(searches: Sequence[Places], texts: Sequence[str], form: Callable[[str], str]) -> set[str]:
    """The texts in which any search finds something.

    Args:
        searches: What finds nothing that reaches over a line feed.
        texts: Some hundred; more would not be in the processor's cache.
        form: What the searches look into, made of the texts: it changes each character by itself or with those next
            to it in the same line.
    """
    joined = form(_BORDER.join(texts))
    lengths = [len(part) + len(_BORDER) for part in joined.split(_BORDER)]
    if len(lengths) != len(texts):  # somebody's text has the border in it
        return set(texts)
    starts = [0, *accumulate(lengths)]
    return {texts[bisect_right(starts, place) - 1] for search in searches for place in search(joined)}
