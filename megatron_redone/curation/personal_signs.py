"""Signs of personal data: without one of them `personal_data` finds nothing, and they are found much sooner.

A sign is wider than the patterns that it stands for, never narrower: it allows their gaps, and the spellings that
`seen_through` sees through. Of wide letters (ｖｘ) each is a sign by itself.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from megatron_redone.curation.joined_texts import Words, starts_of, texts_with
from megatron_redone.curation.scripts import may_have_digits

_BLANKS = [blank for blank in map(chr, range(0x3001)) if blank.isspace()]
_PLAIN_DIGIT = "0-9０-９①-⑨❶-❾⓪⓿"
_DIGIT = f"{_PLAIN_DIGIT}零〇一二三四五六七八九壹贰貳叁參肆伍陆陸柒捌玖幺两"
# What stands inside of emoji and keycaps, and what nobody sees.
_JOINERS = "\ufe0f\u200d"
_INVISIBLE = "\ufe0e\u20e3\u200b\u200c\u2060\ufeff\u00ad"
# In a set of characters it would make the search for all of them slower.
_FAR_ZERO = "🄌"

_DIGITS = re.compile(rf"[{_DIGIT}](?:[^{_DIGIT}\n]{{0,4}}[{_DIGIT}]){{4}}")
_ANY_DIGIT = re.compile(f"[{_DIGIT}]")
_HOUSE = re.compile(f"[{_PLAIN_DIGIT}][A-Za-zＡ-Ｚａ-ｚ]?[ \u00a0\u3000\u2002\u2003\u2009][A-ZＡ-Ｚ{_PLAIN_DIGIT}]")
_PLATE = re.compile("[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-Za-zＡ-Ｚａ-ｚ]")
_STREET = re.compile("[路街道巷弄同][^\n]{1,9}号")

# Patterns that begin with a letter are searched for it alone, which takes next to no time.
# IP addresses of version 6, some of which have hardly a digit.
_COLON, _WIDE_COLON = (re.compile(f"{colon}[{_PLAIN_DIGIT}a-fａ-ｆ]{{0,4}}[:：]") for colon in ":：")
_V = re.compile(r"v(?:[^\w\n]{1,6}信|(?<=[加+＋➕系]\s\sv))")
_WEI = re.compile(r"威(?:[^\w\n]{0,6}信|(?<=[加+＋➕系]\s\s威))")
# Behind an emoji they are a part of it.
_STRAY_JOINERS = [re.compile(f"{one}(?<=[\0-\u1fff\u2000-\u206f\u3000-\u9fff\uff00-\uffef]{one})") for one in _JOINERS]
# A mention that was masked is no address; one that goes on as a domain may be.
_GOES_ON = r"(?:[a-z0-9－-]|[.．]\w)"
_NOT_MASKED = re.compile(f"@user{_GOES_ON}")
_MASKED = "\1"
_MASKED_GOES_ON = re.compile(_MASKED + _GOES_ON)


def _with_gap(*pairs: tuple[str, str]) -> list[str]:
    """Words that may have one blank in the middle."""
    return [before + blank + after for before, after in pairs for blank in ("", *_BLANKS)]


# Channels whose names have a colon behind them.
NAMED_BEFORE_COLONS = [
    *("telegram", "kik", "snap", "skype", "discord", "insta", "抖音号", "快手号", "小红书号", "微博号", "陌陌"),
    *_with_gap(("line", "id"), ("ig", ":"), ("ig", "：")),
    *_with_gap(*(("ig", word) for word in ("id", "name", "user", "handle"))),
]
# Channels whose handles may be all letters. QQ's are numbers: there, digits are the sign.
_CHANNELS = [
    *NAMED_BEFORE_COLONS,
    *("微", "薇", "溦", "徽", "tg", "电报", "飞机"),
    *_with_gap(("卫", "星"), ("v", "x"), ("w", "x"), ("wei", "xin"), ("we", "chat"), ("v", "信")),
    *_with_gap(*((letter, colon) for letter in "vw" for colon in ":：")),
    *_with_gap(*((before, letter) for before in "加+＋➕系我下个的" for letter in "v威")),
    *(chr(code) for code in range(ord("ａ"), ord("ｚ") + 1)),
]
_QQ = ("q", "扣", "企鹅", "球球", "ｑ")
# " at " is no sign: who spells it out without brackets spells the dot out, too.
_BRACKETS = "([{<（［｛＜"
_SPELLED_OUT = ["＠", "dot", *_with_gap(*((mark, "at") for mark in _BRACKETS))]
_SPELLED_AT = re.compile(rf"at(?:(?<=[{re.escape(_BRACKETS)}]at)|(?<=[{re.escape(_BRACKETS)}]\sat))")
_WIDE = re.compile("[＠ａ-ｚ]")

_WORDS = [*_CHANNELS, *_SPELLED_OUT, *_INVISIBLE, _FAR_ZERO]
_WORD = Words(_WORDS)
_WORD_OR_AT = Words([*_WORDS, "@"])
_WORD_AT_OR_DIGIT = Words([*_WORDS, "@", *"0123456789"])


def with_no_sign(texts: Collection[str]) -> set[str]:
    """Of many texts, told at once, most of those in which nothing personal is found."""
    plain = [text for text in texts if text.isascii()]
    others = [text for text in texts if not text.isascii()]
    letters = [starts_of(one) for one in (_V, _COLON, _MASKED_GOES_ON)]
    found = texts_with([_WORD_AT_OR_DIGIT.places, *letters], plain, _without_mentions)
    letters += [starts_of(one) for one in (_WEI, _WIDE_COLON, *_STRAY_JOINERS)]
    found |= texts_with([_WORD_OR_AT.places, *letters], others, _without_mentions)
    found |= texts_with([starts_of(one) for one in (_DIGITS, _HOUSE, _PLATE, _STREET)], others, str)
    return set(texts) - found


def _without_mentions(text: str) -> str:
    """In lower case; mentions that are masked already are no sign."""
    return text.lower().replace("@user", _MASKED)


@dataclass(frozen=True)
class Signs:
    """Which kinds can be in a text at all.

    Attributes:
        emails: Addresses of mail.
        numbers: Of five digits and more.
        addresses: IP addresses.
        handles: Names on channels.
        plates: Of cars.
        streets: Chinese addresses.
        houses: English addresses.
    """

    emails: bool
    numbers: bool
    addresses: bool
    handles: bool
    plates: bool
    streets: bool
    houses: bool


def find_signs(text: str) -> Signs | None:
    """What to look for; None is nothing, as in most texts, which this tells quickly."""
    low, is_ascii = text.lower(), text.isascii()
    has_word = _WORD.stand_in(low)
    if not is_ascii and (has_word or "\ufe0f" in text or "\u200d" in text) and (visible := _visible(text)) != text:
        return find_signs(visible)
    emails = _has_at(low) or (has_word and _is_spelled_out(low))
    has_digits = may_have_digits(text, 1) and _ANY_DIGIT.search(text) is not None
    numbers = has_digits and may_have_digits(text, 5) and _DIGITS.search(text) is not None
    addresses = numbers or _COLON.search(low) is not None or (not is_ascii and _WIDE_COLON.search(low) is not None)
    handles = has_word or _V.search(low) is not None or (not is_ascii and _WEI.search(low) is not None)
    handles = handles or (numbers and any(map(low.__contains__, _QQ)))
    plates = not is_ascii and _PLATE.search(text) is not None
    streets = not is_ascii and "号" in text and _STREET.search(text) is not None
    houses = has_digits and _HOUSE.search(text) is not None
    if not (emails or addresses or handles or plates or streets or houses):
        return None
    return Signs(emails, numbers, addresses, handles, plates, streets, houses)


def _visible(text: str) -> str:
    text = text.replace(_FAR_ZERO, "0")
    for character in _JOINERS + _INVISIBLE:
        text = text.replace(character, "")
    return text


def _has_at(low: str) -> bool:
    return "@" in low and (low.count("@") > low.count("@user") or _NOT_MASKED.search(low) is not None)


def _is_spelled_out(low: str) -> bool:
    return "dot" in low or _SPELLED_AT.search(low) is not None or (not low.isascii() and _WIDE.search(low) is not None)
