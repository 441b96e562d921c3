"""What makes two texts the same, or nearly so."""

import re
import unicodedata

import numpy as np

from megatron_redone.curation.advertising import without_links
from megatron_redone.curation.scripts import units

_REPOST = re.compile(r"\A(?:rt\b\s*@?\w*\s*:?|转发微博|repost\b:?)\s*")
_MENTION = re.compile(r"@[\w·-]+")


def bare_form(text: str) -> str:
    """Lower-case NFKC with single spaces, without links, mentions and repost marks; may be empty."""
    bare = without_links(_REPOST.sub("", _folded(text)))
    if "@" in bare:
        bare = _MENTION.sub(" ", bare)
    return " ".join(bare.split())


def normal_form(text: str) -> str:
    """The bare form, or all of the text in lower case where that is empty.

    Two texts with the same normal form are duplicates. Punctuation and emoji count, so that `???` and
    `!!!` are not.
    """
    return bare_form(text) or _folded(text)


def text_hash(text: str, seed: int = 0) -> int:
    """64 bits that two texts share if their normal form is the same."""
    import xxhash

    return xxhash.xxh64_intdigest(normal_form(text).encode("utf-8", "surrogatepass"), seed)


def shingles(text: str, ngram: int) -> np.ndarray:
    """Hashes of the n-grams of a text's normal form.

    Args:
        text: Any text.
        ngram: Units (words, or characters where a script has no spaces) of one shingle.

    Returns:
        `uint64[N]`, sorted and without repetitions; empty where the text has fewer than `ngram` units.
    """
    import xxhash

    words = units(normal_form(text))
    found = {xxhash.xxh64_intdigest(" ".join(words[i : i + ngram]).encode()) for i in range(len(words) - ngram + 1)}
    return np.sort(np.fromiter(found, np.uint64, len(found)))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()
