"""What makes two texts the same, or nearly so."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from megatron_redone.curation.advertising import without_links
from megatron_redone.curation.folding import folded
from megatron_redone.curation.scripts import units

_REPOST = re.compile(r"\A(?:rt\b\s*@?\w*\s*:?|转发微博|repost\b:?)\s*")
_MENTION = re.compile(r"@[\w·-]+")

# Characters of a shingle of a text that has fewer units than a shingle of units.
_SHORT = 3
_SHORT_SEED = 0x5107

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no power of it vanishes
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_MOST_UNITS = 1 << 20


def bare_form(text: str) -> str:
    """Lower-case NFKC with single spaces, without links, mentions and repost marks; may be empty."""
    bare = folded(text)
    if repost := _REPOST.match(bare):
        bare = bare[repost.end() :]
    bare = without_links(bare)
    if "@" in bare:
        bare = _MENTION.sub(" ", bare)
    if bare.isprintable() and "  " not in bare:  # no white space but single spaces
        return bare.strip()
    return " ".join(bare.split())


def normal_form(text: str) -> str:
    """The bare form, or all of the text in lower case where that is empty.

    Two texts with the same normal form are duplicates. Punctuation and emoji count, so that `???` and
    `!!!` are not.
    """
    return bare_form(text) or folded(text)


def text_hash(text: str, seed: int = 0) -> int:
    """64 bits that two texts share if their normal form is the same."""
    return form_hash(normal_form(text), seed)


def form_hash(form: str, seed: int = 0) -> int:
    """64 bits of a normal form."""
    import xxhash

    return xxhash.xxh64_intdigest(form.encode("utf-8", "surrogatepass"), seed)


def shingles(text: str, ngram: int) -> np.ndarray:
    """Hashes of the n-grams of one text's normal form; see `shingle_sets`."""
    return shingle_sets([normal_form(text)], ngram).values


@dataclass(frozen=True)
class ShingleSets:
    """Sets of shingles, one a text.

    Attributes:
        values: `uint32[N]`, one set after the other, each sorted and without repetitions.
        sizes: `int64[D]`, elements of each set; none is empty.
    """

    values: np.ndarray
    sizes: np.ndarray


NO_SETS = ShingleSets(np.empty(0, np.uint32), np.empty(0, np.int64))


class _Hashes(dict[str, int]):
    """A hash of every text that was asked for; the commonest are asked for over and over."""

    def __init__(self, digest: Callable[[bytes], int]) -> None:
        super().__init__()
        self._digest = digest

    def __missing__(self, text: str) -> int:
        if len(self) >= _MOST_UNITS:
            self.clear()
        found = self[text] = self._digest(text.encode("utf-8", "surrogatepass"))
        return found


class KnownHashes:
    """Hashes that were computed once.

    Attributes:
        units: 64 bits of words and characters.
        parts: 32 bits of the shingles of short texts.
    """

    def __init__(self) -> None:
        import xxhash

        self.units = _Hashes(xxhash.xxh64_intdigest)
        self.parts = _Hashes(lambda part: xxhash.xxh32_intdigest(part, _SHORT_SEED))


def shingle_sets(forms: Sequence[str], ngram: int, known: KnownHashes | None = None) -> ShingleSets:
    """Hashes of the n-grams of many texts at once.

    A text of fewer units than `ngram` has its units and its n-grams of three characters instead, so that every
    text has a set; no such set is like that of a longer text.

    Args:
        forms: Normal forms.
        ngram: Units (words, or characters where a script has no spaces) of one shingle.
        known: From call to call the same, so that a unit is hashed once.
    """
    known = KnownHashes() if known is None else known
    words = [units(form) for form in forms]
    counts = np.fromiter(map(len, words), np.int64, len(words))
    flat = np.fromiter(map(known.units.__getitem__, chain.from_iterable(words)), np.uint64, int(counts.sum()))
    owners, hashes = _long_shingles(flat, counts, ngram)
    few = np.flatnonzero(counts < ngram)
    short = [_short_parts(forms[i], words[i]) for i in map(int, few)]
    owners = np.concatenate([owners, np.repeat(few.astype(np.uint64), [len(parts) for parts in short])])
    found = np.fromiter(map(known.parts.__getitem__, chain.from_iterable(short)), np.uint64, len(owners) - len(hashes))
    keys = (owners << np.uint64(32)) | np.concatenate([hashes, found])
    keys.sort()
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]]
    sizes = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(forms))
    return ShingleSets(keys.astype(np.uint32), sizes)


def _long_shingles(flat: np.ndarray, counts: np.ndarray, ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """Polynomials over `ngram` units in a row that do not cross the border of a text."""
    windows = len(flat) - ngram + 1
    if windows <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    total = rolling_hashes(flat, ngram)
    owners = np.repeat(np.arange(len(counts)), counts)
    inside = owners[:windows] == owners[ngram - 1 :]
    return owners[:windows][inside].astype(np.uint64), total[inside] >> np.uint64(32)


def rolling_hashes(flat: np.ndarray, ngram: int) -> np.ndarray:
    """`uint64[N - ngram + 1]`: a hash of every `ngram` numbers in a row of `uint64[N]`."""
    windows = max(0, len(flat) - ngram + 1)
    total = np.zeros(windows, np.uint64)
    for i in range(ngram):
        total = total * _BASE + flat[i : i + windows]
    return (total ^ (total >> np.uint64(31))) * _MIX


def _short_parts(form: str, words: list[str]) -> list[str]:
    """Whole words too: `windy` and `window` share most of their characters, and mean something else."""
    parts = [f"{word} " for word in words]
    return parts + [form[i : i + _SHORT] for i in range(max(1, len(form) - _SHORT + 1))]
