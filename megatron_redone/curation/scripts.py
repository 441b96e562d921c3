"""What counts as one unit of text in which script, and a length that is fair between scripts."""

import re

# Scripts that put no spaces between words: every character is a unit.
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d"
_UNSPACED = _HAN + _KANA + "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_HANGUL = "\uac00-\ud7af"

_IN_WORD = rf"[^\W_{_UNSPACED}]"
_WORD = f"{_IN_WORD}+(?:['’]{_IN_WORD}+)*"
_UNIT = re.compile(f"[{_UNSPACED}]|{_WORD}")
_UNITS = re.compile(f"([{_UNSPACED}]+)|({_WORD})")
_NOT_LETTERS = re.compile(r"[\W_]+")
_HAN_CHARACTERS = re.compile(f"[{_HAN}]+")
_SYLLABLES = re.compile(f"[{_KANA}{_HANGUL}]+")

# The same for ASCII, which most posts are: bytes are translated ten times as fast as characters.
_ASCII_UNIT = re.compile("[A-Za-z0-9]+(?:'[A-Za-z0-9]+)*")
_NO_ASCII_LETTERS = bytes(code for code in range(128) if not chr(code).isalnum())
_NO_ASCII_DIGITS = bytes(code for code in range(128) if not chr(code).isdigit())
_SPACES_BETWEEN = bytes(code if chr(code).isalnum() or chr(code) == "'" else ord(" ") for code in range(256))

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


def units(text: str) -> list[str]:
    """A text's words, and its characters where a script has no spaces; no punctuation, no emoji.

    Examples:
        >>> units("Don't 吃了吗? ok")
        ["Don't", '吃', '了', '吗', 'ok']
    """
    if not text.isascii():
        return [unit for unspaced, word in _UNITS.findall(text) for unit in unspaced or (word,)]
    words = text.encode().translate(_SPACES_BETWEEN).decode()
    # An apostrophe belongs to a word only where it has letters on both sides.
    return _ASCII_UNIT.findall(text) if "'" in words and _has_stray_apostrophe(words) else words.split()


def _has_stray_apostrophe(words: str) -> bool:
    """Whether one stands at the beginning or the end of a word; nothing but spaces parts words."""
    return words[0] == "'" or words[-1] == "'" or " '" in words or "' " in words or "''" in words


def may_have_digits(text: str, number: int) -> bool:
    """Whether a text can have so many digits: told quickly, and of ASCII alone."""
    return not text.isascii() or len(text.encode().translate(None, _NO_ASCII_DIGITS)) >= number


def unit_spans(text: str) -> list[tuple[int, int]]:
    """Where the units of a text stand."""
    return [match.span() for match in _UNIT.finditer(text)]


def weighted_length(text: str) -> int:
    """Letters and digits, in English letters: a Han character counts for three, a kana or Hangul syllable for two.

    Punctuation, spaces and emoji count for nothing.
    """
    if text.isascii():
        return len(text.encode().translate(None, _NO_ASCII_LETTERS))
    letters = _NOT_LETTERS.sub("", text)
    if letters.isascii():
        return len(letters)
    han = len(letters) - len(rest := _HAN_CHARACTERS.sub("", letters))
    if rest.isascii():
        return _HAN_WEIGHT * han + len(rest)
    syllables = len(rest) - len(others := _SYLLABLES.sub("", rest))
    return _HAN_WEIGHT * han + _SYLLABLE_WEIGHT * syllables + len(others)
