"""Text of evaluation sets in a corpus: the longest runs that a post has in common with an item.

Units are words, and characters where a script puts no spaces between words, after NFKC and in lower case;
white space, line breaks and punctuation count for nothing, so that a quotation is found however it is
wrapped. Every string of an item is a field of its own, so that the order of options does not matter. A run
of so many units counts, or a whole field that is shorter but not too common to mean anything; of options
that are so short see `short_fields`.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from megatron_redone.curation.evaluation_items import Field
from megatron_redone.curation.fingerprint import KnownHashes, rolling_hashes
from megatron_redone.curation.scripts import unit_spans, units, weighted_length
from megatron_redone.curation.short_fields import ShortFields

_FEWEST_UNITS = 4


@dataclass(frozen=True)
class Run:
    """A part of a text that is a part of an item: `text[start:end]`, so many units long."""

    field: Field
    start: int
    end: int
    units: int


class ItemIndex:
    """Which fields have which n-grams."""

    def __init__(self, items: Iterable[tuple[Field, str]], run: int, min_letters: int, most_items: int) -> None:
        """Takes in all fields.

        Args:
            items: Fields and their texts.
            run: Units of an n-gram.
            min_letters: Letters (a Chinese character is three) of a shorter field at least.
            most_items: N-grams of more items than that are phrases of the benchmark, such as its instructions.
        """
        self.run = run
        self._known = KnownHashes().units
        self._short = ShortFields(run)
        found: defaultdict[int, dict[int, list[Field]]] = defaultdict(dict)
        self.not_looked_for = 0
        for field, text in items:
            words = units(_folded(text))
            self._short.add(field, text, words)
            length = min(run, len(words))
            if length < run and (length < _FEWEST_UNITS or weighted_length(text) < min_letters):
                self.not_looked_for += 1
                continue
            for number in rolling_hashes(self._hashes(words), length).tolist():
                found[length].setdefault(number, []).append(field)
        self._fields = {
            length: {number: fields for number, fields in by_hash.items() if _items(fields) <= most_items}
            for length, by_hash in found.items()
        }
        self._sorted = {length: np.sort(np.fromiter(by_hash, np.uint64)) for length, by_hash in self._fields.items()}

    def _hashes(self, words: Sequence[str]) -> np.ndarray:
        return np.fromiter(map(self._known.__getitem__, words), np.uint64, len(words))

    def search(self, texts: Sequence[str]) -> list[list[Run]]:
        """The runs in each of many texts, the longest first."""
        words = [units(_folded(text)) for text in texts]
        counts = np.fromiter(map(len, words), np.int64, len(words))
        flat = self._hashes(list(chain.from_iterable(words)))
        owners = np.repeat(np.arange(len(words)), counts)
        starts = np.cumsum(counts) - counts
        hits: defaultdict[int, list[tuple[int, int, Field]]] = defaultdict(list)
        for length, known in self._sorted.items():
            hashes = rolling_hashes(flat, length)
            if not len(known) or not len(hashes):
                continue
            places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            inside = owners[: len(hashes)] == owners[length - 1 :]
            for place in np.flatnonzero((known[places] == hashes) & inside).tolist():
                text = int(owners[place])
                if (field := self._that_counts(length, int(hashes[place]), words[text])) is not None:
                    hits[text].append((place - int(starts[text]), length, field))
        return [_runs(texts[i], hits[i]) if i in hits else [] for i in range(len(texts))]

    def _that_counts(self, length: int, number: int, words: Sequence[str]) -> Field | None:
        """The first field with an n-gram that is evidence where it stands in a text of these units."""
        fields = self._fields[length][number]
        if length == self.run:
            return fields[0]
        return next((field for field in fields if self._short.counts(field, words)), None)


def _items(fields: Sequence[Field]) -> int:
    return len({(field.benchmark, field.item) for field in fields})


def _runs(text: str, hits: list[tuple[int, int, Field]]) -> list[Run]:
    """Hits that touch or overlap are one run."""
    spans = _spans_of_units(text)
    merged: list[tuple[int, int, Field]] = []
    for start, length, field in sorted(hits, key=lambda hit: hit[:2]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], start + length), merged[-1][2])
        else:
            merged.append((start, start + length, field))
    runs = [Run(field, spans[first][0], spans[last - 1][1], last - first) for first, last, field in merged]
    return sorted(runs, key=lambda run: -run.units)


def _spans_of_units(text: str) -> list[tuple[int, int]]:
    """Where each unit of the folded text stands in the text itself."""
    folded, places = [], []
    for place, character in enumerate(text):
        plain = _folded(character)
        folded.append(plain)
        places += [place] * len(plain)
    spans = unit_spans("".join(folded))
    if len(spans) != len(units(_folded(text))):  # marks that only together with their letter are one character
        return [(0, len(text))] * len(units(_folded(text)))
    return [(places[start], places[end - 1] + 1) for start, end in spans]


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()


def cut(text: str, runs: Sequence[Run]) -> str:
    """A text without its runs."""
    parts, last = [], 0
    for run in sorted(runs, key=lambda run: run.start):
        parts.append(text[last : run.start].rstrip())
        last = max(last, run.end)
    return "\n".join(part for part in [*parts, text[last:].strip()] if part)
