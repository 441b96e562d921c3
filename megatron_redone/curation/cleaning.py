"""Text as it was meant: without markup, control characters and invisible dirt.

Every function takes a text and returns one; what carries meaning (`<3`, `a < b`, joined emoji, line
breaks) stays.
"""

import html
import re
import unicodedata
from functools import lru_cache

from megatron_redone.curation.scripts import EMOJI_PATTERN

_ELEMENTS = (
    "a|abbr|article|aside|audio|b|big|blockquote|body|br|button|center|cite|code|dd|del|div|dl|dt|em|figcaption|figure"
    "|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|link|main|mark|meta|nav|noscript|o:p"
    "|object|ol|option|p|picture|pre|q|s|section|select|small|source|span|strike|strong|sub|sup|svg|table|tbody|td"
    "|textarea|tfoot|th|thead|time|title|tr|u|ul|video|wbr"
)
_ATTRIBUTE = r"""\s+[\w:@.-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+)"""
_TAG = re.compile(rf"</?({_ELEMENTS})(?:{_ATTRIBUTE})*\s*/?>", re.IGNORECASE)
# What is shown to nobody, from such a beginning to the end of its own kind: a comment, or one of these elements.
_HIDDEN_ELEMENTS = ("script", "style", "noscript", "svg", "template")
_HIDDEN = re.compile(rf"<!--|<(?:({')|('.join(_HIDDEN_ELEMENTS)}))\b", re.IGNORECASE)
_HIDDEN_ENDS = [re.compile(end, re.IGNORECASE) for end in ("-->", *(rf"</{one}\s*>" for one in _HIDDEN_ELEMENTS))]
_BREAKING = re.compile(r"(?:br|p|div|li|tr|h[1-6]|hr|ul|ol|dl|dd|dt|table|blockquote|section|article|pre)\Z")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)

# With its semicolon only: `?a=1&copy=2` is a link, not a copyright sign.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")

# C0 and C1 without tab and line feed; soft hyphen; marks that turn the direction of writing; the rest
# of the invisible ones; the replacement character, which stands for bytes that were lost; surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffd\ud800-\udfff]"
)
# Those of them that Python calls printable.
_NOTHING = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufffc\ufffd"
_DRAWN_AS_NOTHING = re.compile(f"[{_NOTHING}]")
# Joiners are spelling in Arabic and Indic scripts, and glue in emoji; anywhere else they are dirt.
_STRAY_JOINER = re.compile("(?<![\u0600-\u0dff\u200d\ufe0f\u2600-\u27bf\U0001f000-\U0001faff])[\u200c\u200d]")
_LINE_END = re.compile("\r\n?|[\u0085\u2028\u2029\x0b\x0c]")
_SPACES = re.compile("[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_UNTIDY = re.compile("[\n\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]|  ")
_EMPTY_LINES = re.compile(r"\n{3,}")

# Letters of other alphabets that are drawn like ours: mathematical and full-width ones.
_STYLES = "\U0001d400-\U0001d7ff\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
_STYLED = re.compile(f"[{_STYLES}]+")
_MARK = "\u0300-\u036f\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
_MARKS = re.compile(f"([{_MARK}]{{2}})[\u0300-\u036f\u0489\u1ab0-\u20ff]+")

# One of these is in every printable text in NFC that is changed, but for `<`, `&` and runs of spaces.
_UNUSUAL = re.compile(f"[{_NOTHING}{_STYLES}{_MARK}]")

# One of these is in every emoji of several characters that has no brackets: flags, joiners, marks, skin tones.
_OF_SEVERAL = re.compile("[\U0001f1e6-\U0001f1ff\u200d\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff]")

_LATIN_MENTION = r"@[A-Za-z0-9_]{1,30}(?![A-Za-z0-9_@]|\.[A-Za-z])"
# Weibo and the like: a name of any letters, where a space or a mark shows its end.
_MENTION = re.compile(rf"(?<![A-Za-z0-9_.+-])(?<![^/]/)(?:{_LATIN_MENTION}|@[\w·-]{{1,30}}(?=[\s:：,，、/()（）]|\Z))")
_REPOST = re.compile(r"\A(?:RT @[\w·-]+ ?:?\s*|转发微博(?=\W|\Z)[\s。.:：]*|Repost\b[\s:：]*(?=//|\Z))+")
_MASKED_IN_A_ROW = re.compile(r"@user(?:[\s,]+@user)+(?!\w)")


def clean(text: str) -> str:
    """Markup, entities, invisible characters and surplus white space removed, in that order."""
    if _is_clean(text):
        return text.strip()
    text = remove_markup(text)
    text = decode_entities(text)
    text = remove_invisible(text)
    text = plain_letters(text)
    return tidy_space(text)


def _is_clean(text: str) -> bool:
    """Whether nothing but a space at its ends can have to go: told quickly, and so of most texts."""
    if not text.isprintable() or "<" in text or "&" in text or "  " in text:
        return False
    return text.isascii() or (unicodedata.is_normalized("NFC", text) and not _UNUSUAL.search(text))


def remove_markup(text: str) -> str:
    """HTML elements become line breaks or nothing; what only looks like one (`<3`, `<unk>`, `a < b`) stays."""
    if "<" not in text:
        return text
    return _TAG.sub(_break_or_nothing, _without_hidden(text))


def decode_entities(text: str) -> str:
    """Entities become the characters they stand for, also where they were escaped twice (`&amp;lt;`)."""
    if "&" not in text:
        return text
    for _ in range(2):
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return _BREAK.sub("\n", text)


def remove_invisible(text: str) -> str:
    """Control characters, zero-width spaces and direction marks go; joined emoji and Persian spelling stay."""
    if text.isprintable() and (text.isascii() or not _DRAWN_AS_NOTHING.search(text)):
        return text
    return _STRAY_JOINER.sub("", _INVISIBLE.sub("", _LINE_END.sub("\n", text)))


def plain_letters(text: str) -> str:
    """Composed accents (NFC), at most two marks on a letter, and 𝓯𝓪𝓷𝓬𝔂 or ｆｕｌｌ－ｗｉｄｔｈ letters as plain ones.

    Chinese punctuation keeps its width, which is why this is not NFKC.
    """
    if text.isascii():
        return text
    text = _MARKS.sub(r"\1", unicodedata.normalize("NFC", text))
    return _STYLED.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)


def tidy_space(text: str) -> str:
    """Runs of spaces become one, except those that indent a line; at most one empty line in a row."""
    if not _UNTIDY.search(text):
        return text.strip()
    lines = (_tidy_line(line) for line in text.split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()


def limit_runs(text: str, longest: int) -> str:
    """No character, emoji or [emoticon] stands more than `longest` times in a row; digits and spaces may."""
    may_have = _run_of_one(longest).search(text) or text.count("[") > longest
    if not may_have and (text.isascii() or not _OF_SEVERAL.search(text)):
        return text
    return _run_longer_than(longest).sub(lambda found: found[1] * longest, text)


def remove_repost_mark(text: str) -> str:
    """`RT @name:` and `转发微博` at the beginning go: they tell how a text came, not what it says."""
    mark = _REPOST.match(text)
    return text[mark.end() :] if mark else text


def mask_mentions(text: str, names: dict[str, str]) -> str:
    """`@name` becomes `@user`, or `@` and the name that `names` gives for it; several `@user` in a row become one.

    Mail addresses stay.
    """
    if "@" not in text:
        return text
    masked = _MENTION.sub(lambda found: "@" + names.get(found[0][1:], "user"), text)
    return _MASKED_IN_A_ROW.sub("@user", masked)


@lru_cache
def _run_of_one(longest: int) -> re.Pattern[str]:
    """Quicker to look for: any character in a row."""
    return re.compile("(.)" + r"\1" * longest)  # written out: a counted group is twice as slow


@lru_cache
def _run_longer_than(longest: int) -> re.Pattern[str]:
    return re.compile(rf"({EMOJI_PATTERN}|[^\s\d])\1{{{longest},}}")


def _without_hidden(text: str) -> str:
    """A space instead of comments and of elements that are not shown; one that nothing ends stays.

    What ends no comment, say, is looked for once and not for each: that would take the square of the text's length.
    """
    parts, last = [], 0
    endless: set[int] = set()
    beginning = _HIDDEN.search(text)
    while beginning:
        after, kind = beginning.end(), beginning.lastindex or 0
        end = None if kind in endless else _end_of_hidden(text, kind, after)
        if end is None:
            endless.add(kind)
        else:
            parts += [text[last : beginning.start()], " "]
            last = after = end
        beginning = _HIDDEN.search(text, after)
    return "".join([*parts, text[last:]])


def _end_of_hidden(text: str, kind: int, start: int) -> int | None:
    """Where what is hidden ends, whose beginning is known up to `start`: up to the name of an element."""
    opened = text.find(">", start) if kind else start
    end = _HIDDEN_ENDS[kind].search(text, opened) if opened >= 0 else None
    return None if end is None else end.end()


def _break_or_nothing(tag: re.Match[str]) -> str:
    return "\n" if _BREAKING.match(tag[1].lower()) else ""


def _tidy_line(line: str) -> str:
    body = line.lstrip(" \t")
    indent = line[: len(line) - len(body)]
    return (indent if len(indent) > 1 else "") + _SPACES.sub(" ", body).strip()
