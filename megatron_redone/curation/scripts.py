"""What counts as one unit of text in which script, and a length that is fair between scripts."""

import re
from collections.abc import Iterable

# Scripts that put no spaces between words: every character is a unit.
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d"
_UNSPACED = _HAN + _KANA + "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_HANGUL = "\uac00-\ud7af"

_IN_WORD = rf"[^\W_{_UNSPACED}]"
_UNIT = re.compile(f"[{_UNSPACED}]|{_IN_WORD}+(?:['’]{_IN_WORD}+)*")
_NOT_LETTERS = re.compile(r"[\W_]+")
_HAN_CHARACTERS = re.compile(f"[{_HAN}]+")
_SYLLABLES = re.compile(f"[{_KANA}{_HANGUL}]+")

# The same for ASCII, where it is much quicker: most posts are.
_ASCII_UNIT = re.compile("[A-Za-z0-9]+(?:'[A-Za-z0-9]+)*")
_BETWEEN_ASCII_UNITS = {code: " " for code in range(128) if not chr(code).isalnum()}
_NO_ASCII_LETTERS = {code: None for code in range(128) if not chr(code).isalnum()}

# A Han character stands for 2.8 English letters in the 21,116 sentence pairs of Tatoeba (cmn-eng).
_HAN_WEIGHT = 3
_SYLLABLE_WEIGHT = 2

_PICTURE = "[\u203c\u2049\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
_MODIFIERS = "[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff]*"
# An emoji with its skin tone, a family of them joined by U+200D, a flag; and Weibo's [泪] [doge].
EMOJI_PATTERN = (
    "[\U0001f1e6-\U0001f1ff]{2}"
    f"|{_PICTURE}{_MODIFIERS}(?:\u200d{_PICTURE}{_MODIFIERS})*"
    r"|\[(?:[\u4e00-\u9fff]{1,4}|[dD]oge|ok|OK|good)\]"
)
EMOJI = re.compile(EMOJI_PATTERN)


_MAY_BE_EMOJI = re.compile(f"{_PICTURE}|[\U0001f1e6-\U0001f1ff\\[]")


def may_have_emoji(text: str) -> bool:
    """Whether `EMOJI` can be found in a text that is not all ASCII, quickly; of one that is, nothing counts as one."""
    return not text.isascii() and _MAY_BE_EMOJI.search(text) is not None


# Letters of English by how often they stand in it, the commonest first.
_COMMON = " etaoinshrdlucmfwygpbvkxqjz"


def _rarity(letter: str) -> int:
    return _COMMON.index(letter) if letter in _COMMON else len(_COMMON)


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """What finds any of some lower-case words, each by its rarest letter: far fewer places are tried."""
    parts = []
    for word in words:
        at = max(range(len(word)), key=lambda i: (_rarity(word[i]), -i))
        before, behind = re.escape(word[:at]), re.escape(word[at + 1 :])
        letter = re.escape(word[at])
        parts.append(f"{letter}(?<={before}{letter}){behind}" if before else f"{letter}{behind}")
    return re.compile("|".join(parts))


def units(text: str) -> list[str]:
    """A text's words, and its characters where a script has no spaces; no punctuation, no emoji.

    Examples:
        >>> units("Don't 吃了吗? ok")
        ["Don't", '吃', '了', '吗', 'ok']
    """
    if not text.isascii():
        return _UNIT.findall(text)
    return _ASCII_UNIT.findall(text) if "'" in text else text.translate(_BETWEEN_ASCII_UNITS).split()


def unit_spans(text: str) -> list[tuple[int, int]]:
    """Where the units of a text stand."""
    return [match.span() for match in _UNIT.finditer(text)]


def weighted_length(text: str) -> int:
    """Letters and digits, in English letters: a Han character counts for three, a kana or Hangul syllable for two.

    Punctuation, spaces and emoji count for nothing.
    """
    if text.isascii():
        return len(text.translate(_NO_ASCII_LETTERS))
    letters = _NOT_LETTERS.sub("", text)
    han = len(letters) - len(rest := _HAN_CHARACTERS.sub("", letters))
    syllables = len(rest) - len(others := _SYLLABLES.sub("", rest))
    return _HAN_WEIGHT * han + _SYLLABLE_WEIGHT * syllables + len(others)
