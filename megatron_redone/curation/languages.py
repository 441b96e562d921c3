"""The language of a post: its script first, then CLD2; what neither tells is `unknown`, which is no verdict.

Scripts decide where they can: Han without kana or Hangul is Chinese, kana is Japanese, Hangul is Korean. A
post with both Chinese and Latin words has two languages, as posts often do.
"""

import re

from megatron_redone.curation.advertising import without_links
from megatron_redone.curation.scripts import EMOJI, may_have_emoji

UNKNOWN = "unknown"

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
# At least two in a row: a single の is Chinese shop talk, and ヽ(ー_ー)ノ is a face.
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff9d][\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d]+")
_HANGUL = re.compile("[\uac00-\ud7af\u1100-\u11ff]+")
_EASTERN = re.compile("[\u1100-\u11ff\u3041-\uff9d\U00020000-\U0003ffff]")  # all of them, and more
_LATIN_WORD = re.compile("[A-Za-zÀ-ɏ]+(?:['’][A-Za-zÀ-ɏ]+)*")
_SPACES_BETWEEN = bytes(code if chr(code).isalpha() else ord(" ") for code in range(128)) + b" " * 128
_TAG = r"[@#][\w·-]+|\[[A-Z_]+\]"
_TAGS = re.compile(_TAG)
# A word begins where no letter stands before it: from its middle no digit is looked for once more.
_TAGS_AND_NUMBERS = re.compile(rf"{_TAG}|(?<![A-Za-z0-9])[A-Za-z]*[0-9][A-Za-z0-9]*")
_DIGIT = re.compile("[0-9]")
_STRETCHED = re.compile(r"([A-Za-z])\1\1+")

_FEW_LETTERS = 60  # below, CLD2 guesses; a second witness is asked
_MIXED = 4  # Latin words beside Chinese that make a second language
# The commonest English words that are hardly words of other languages in Latin letters.
_ENGLISH_WORDS = """
the and you that was for are with his they this have from had not but what all were when your can said there
which do how their if will up other about out many then them these so some her would make like him into has
look more write go see could people my than first been call who its now find down day did get come made may i
i'm it's don't that's is it of to be we he she at by or as an just really very good great love lol lmao omg
wtf haha fuck shit damn thanks thank yes yeah yep nope no ok okay please sorry never always why where because
thing things think know want need got gonna wanna should still too much best better bad well only even after
before right true same here again happy nice here's what's let's can't i'd i've you're he's she's they're
we're isn't doesn't didn't wasn't won't man guy guys dude wow cool awesome amazing hope wish wait stop hey hi
hello new old year years time today tomorrow work life world women woman men video song game team show watch
ever feel hate stupid funny hell god makes looks sounds welcome
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
# What CLD2 is believed of a few words in Latin letters: it takes slang, names and laughter for Manx and Scots.
_BELIEVED = frozenset(["pt", "es", "fr", "it", "de", "nl", "id", "ms", "tl", "vi", "tr", "pl", "ro"])
_NAMES_SHARE = 0.6
_SOME_SHARE = 0.25
_UNSURE_SHARE = 0.34


def languages_of(text: str) -> tuple[str, ...]:
    """Codes of ISO 639-1, the one with the most letters first, or `unknown` alone.

    Args:
        text: A post.
    """
    plain = without_links(text)
    if _DIGIT.search(plain):
        plain = _TAGS_AND_NUMBERS.sub(" ", plain)
    elif "@" in plain or "#" in plain or "[" in plain:
        plain = _TAGS.sub(" ", plain)
    plain = EMOJI.sub(" ", plain) if may_have_emoji(plain) else plain
    if not plain.isascii():
        east = _eastern(plain)
        if east is not None:
            words = _LATIN_WORD.findall(plain)
            if len(words) < _MIXED or _western(" ".join(words)) != "en":
                return (east,)
            return ("en", east) if len(words) > _letters(_HAN, plain) else (east, "en")
    return (_western(plain),)


def _eastern(text: str) -> str | None:
    if not _EASTERN.search(text):
        return None
    han, hangul, kana = _letters(_HAN, text), _letters(_HANGUL, text), _letters(_KANA, text)
    if not han + kana + hangul:
        return None
    if hangul > han + kana:
        return "ko"
    if kana >= 2 and kana * 5 >= han:
        return "ja"
    return "zh" if han else "ja" if kana >= 2 else None


def _letters(runs: re.Pattern[str], text: str) -> int:
    return sum(map(len, runs.findall(text)))


def _western(text: str) -> str:
    words = _words(text)
    if _is_english(words):  # most posts: no English word is stretched, so that none is lost by asking now
        return "en"
    text, stretched = _STRETCHED.subn(r"\1\1", text)
    if stretched:
        words = _words(text)
        if _is_english(words):
            return "en"
    if not words and text.isascii():
        return UNKNOWN  # there is no letter in it
    return _by_cld2(text, words)


def _words(text: str) -> list[str]:
    if text.isascii() and "'" not in text:
        return text.lower().encode().translate(_SPACES_BETWEEN).decode().split()
    words = _LATIN_WORD.findall(text.lower())
    return [word.replace("’", "'") for word in words] if "’" in text else words


def _is_english(words: list[str]) -> bool:
    return bool(words) and sum(map(_ENGLISH.__contains__, words)) >= max(1, _UNSURE_SHARE * len(words))


def _by_cld2(text: str, words: list[str]) -> str:
    import pycld2

    letters = sum(map(len, words))
    english = sum(map(_ENGLISH.__contains__, words))
    try:
        reliable, _, details = pycld2.detect(text.encode("utf-8", "ignore"), isPlainText=True, bestEffort=True)
    except pycld2.error:
        return UNKNOWN
    code = details[0][1].split("-")[0]
    code = "en" if code == "sco" else code
    if code == "un":
        return UNKNOWN
    if letters >= _FEW_LETTERS or not words:
        return code if reliable else ("en" if english >= _SOME_SHARE * len(words) else UNKNOWN)
    if code == "en":
        return "en" if english or reliable else UNKNOWN
    if code not in _BELIEVED or english or len(words) < 4 or _are_names(text):
        return UNKNOWN
    return code if reliable and details[0][2] >= 90 else UNKNOWN


def _are_names(text: str) -> bool:
    """Whether most words are written as names are, which tell nothing of a language."""
    words = _LATIN_WORD.findall(text)
    return sum(word[0].isupper() and not word.isupper() for word in words) >= _NAMES_SHARE * len(words)
