"""Fields of evaluation sets that are shorter than a run, and when one says that a text has the item.

A short question says so alone. A short option (`爱因斯坦的相对论`, `in the United States`) is a phrase that people
use: it counts only where the text has more of its item, the question or all the other options, and as many
units of it in all as a run has.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from megatron_redone.curation.evaluation_items import Field
from megatron_redone.curation.scripts import weighted_length

# `A`, `choices.2`, `choice0`, `mc1_targets.labels.1`, `endings.0`, `opb`, `incorrect_answers.0`, `Answer`.
_OPTION = re.compile(
    r"(?:.*\.)?(?:[a-j]|\d+|op[a-e]|sol(?:ution)?\d*)\Z"
    r"|(?:.*[._])?(?:in)?(?:correct|option|choice|candidate|answer|distractor|ending|target|label|gold|output|response)",
    re.IGNORECASE,
)
_FEWEST_LETTERS = 3  # shorter ones, as the letter of the answer or a number, say nothing and need not be there
_SHORTEST_QUESTION = 4  # units; a shorter field that is no option is a subject or a source
_BETWEEN = "\0"


@dataclass(frozen=True)
class _Part:
    """A field: its units in one string, how many they are, and whether it is an option."""

    text: str
    units: int
    is_option: bool


class ShortFields:
    """All fields of all items, by their units."""

    def __init__(self, run: int) -> None:
        """Begins without items.

        Args:
            run: Units that the fields found in a text have together at least, if they are not all of their item.
        """
        self.run = run
        self._items: defaultdict[tuple[str, str], list[_Part]] = defaultdict(list)

    def add(self, field: Field, text: str, words: Sequence[str]) -> None:
        """Takes in a field, its text and its units."""
        if weighted_length(text) >= _FEWEST_LETTERS:
            part = _Part(_joined(words), len(words), is_option(field.name))
            self._items[field.benchmark, field.item].append(part)

    def counts(self, field: Field, words: Sequence[str]) -> bool:
        """Whether a text of these units, which has this short field, has its item."""
        if not is_option(field.name):
            return True
        text = _joined(words)
        parts = self._items[field.benchmark, field.item]
        found = [part for part in parts if part.text in text]
        if len(found) == len(parts):
            return True
        has_question = any(not part.is_option and part.units >= _SHORTEST_QUESTION for part in found)
        has_options = all(part in found for part in parts if part.is_option)
        return (has_question or has_options) and sum(part.units for part in found) >= self.run


def is_option(name: str) -> bool:
    """Whether a field, by its name, holds an option or an answer."""
    return bool(_OPTION.match(name))


def _joined(words: Sequence[str]) -> str:
    return _BETWEEN + _BETWEEN.join(words) + _BETWEEN
