"""Personal data in posts: found through the spellings that hide it, replaced by what it is.

What has a checksum or a plan of numbers must agree with it: identity cards (GB 11643), bank cards (Luhn,
issuers' prefixes), telephone numbers (the plans of phonenumberslite), IP addresses. Handles need the name
of their channel beside them. Links keep what is in them.
"""

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_redone.curation.advertising import link_spans
from megatron_redone.curation.joined_texts import Words
from megatron_redone.curation.number_checks import (
    bare,
    is_bank_card,
    is_grouped,
    is_id_card,
    is_ip_address,
    is_national,
    is_telephone,
)
from megatron_redone.curation.personal_signs import NAMED_BEFORE_COLONS, Signs, find_signs
from megatron_redone.curation.seen_through import SeenThrough, see_through


@dataclass(frozen=True)
class Found:
    """Something personal in a text: `text[start:end]`."""

    kind: str
    start: int
    end: int


# What stands in its place: in a text with Chinese characters, and in any other.
PLACEHOLDERS = {
    "email": ("[邮箱]", "[email]"),
    "id_card": ("[身份证号]", "[ID number]"),
    "bank_card": ("[银行卡号]", "[card number]"),
    "phone": ("[电话号码]", "[phone number]"),
    "ip": ("[IP地址]", "[IP address]"),
    "wechat": ("[微信号]", "[WeChat ID]"),
    "qq": ("[QQ号]", "[QQ number]"),
    "handle": ("[账号]", "[handle]"),
    "plate": ("[车牌号]", "[plate number]"),
    "address": ("[地址]", "[address]"),
}

_HAN = re.compile("[\u4e00-\u9fff]")
_ONLY_HAN = re.compile("[\u4e00-\u9fff]+")

# One of them is in every text with an address, however it is spelled.
_EMAIL_HINT = re.compile(r"@|[(\[{<]\s?at\s?[)\]}>]|\sat\s[A-Za-z0-9-]+\sdot\s", re.IGNORECASE)

_GAP = r"[ .\-_/]"
_START = r"(?<![0-9A-Za-z])(?<![0-9][.,])"
_END = r"(?![0-9])(?!\.[0-9])"

_USER = r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}"
_DOMAIN_PART = "[A-Za-z0-9-]{1,63}"
_EMAILS = [
    re.compile(rf"{_USER}@(?:{_DOMAIN_PART}\.){{1,4}}[A-Za-z]{{2,18}}(?![A-Za-z0-9-])"),
    # Spelled out or spaced: only below the domains that most addresses have.
    re.compile(
        rf"{_USER}(?:\s?@\s?|\s?[(\[{{<]\s?at\s?[)\]}}>]\s?|\sat\s(?={_DOMAIN_PART}\sdot\s))"
        rf"(?:{_DOMAIN_PART}(?:\s?\.\s?|\s?[(\[{{<]\s?dot\s?[)\]}}>]\s?|\sdot\s)){{1,3}}"
        r"(?:com|cn|net|org|edu|gov|io|co|me|hk|tw|uk)"
        r"(?![A-Za-z0-9-])",
        re.IGNORECASE,
    ),
]
_ID_CARD = re.compile(rf"{_START}[1-8](?:{_GAP}?[0-9]){{16}}{_GAP}?[0-9Xx×](?![0-9A-Za-z])")
_CARD = re.compile(rf"{_START}[2-6](?:{_GAP}?[0-9]){{12,18}}{_END}")
_MOBILE = re.compile(
    rf"(?<![0-9])(?<![0-9][.,])(?:(?:\+|00)?86{_GAP}{{0,2}}|\((?:\+|00)?86\){_GAP}?)?"
    rf"1{_GAP}?[3-9](?:{_GAP}?[0-9]){{9}}{_END}"
)
_LANDLINE = re.compile(
    rf"{_START}\(?0(?:10|2[0-9]|[3-9][0-9]{{2}})\)?(?:[- ]|(?<=\)))"
    rf"[2-8][0-9]{{2,3}}[- ]?[0-9]{{4}}{_END}(?!-[0-9]{{5}})"
    rf"|{_START}400[- ]?[0-9]{{3}}[- ]?[0-9]{{4}}{_END}(?!-)"
)
_INTERNATIONAL = re.compile(rf"(?<![0-9A-Za-z+])(?:\+|00(?=[1-9]))[ ]?[1-9](?:[ .\-()/]{{0,3}}[0-9]){{6,14}}{_END}")
_AMERICAN = re.compile(
    rf"{_START}(?<![-+#$€£])(?:1[-. ]?)?(?:\([2-9][0-9]{{2}}\)[-. ]?|[2-9][0-9]{{2}}(?P<gap>[-. ]))[2-9][0-9]{{2}}"
    rf"(?(gap)(?P=gap)|[-. ]?)[0-9]{{4}}{_END}(?!-[0-9])"
)
_CALLED = re.compile(
    r"(?:\b(?:call|text|ring|phone|mobile|cell|tel|number|sms|whatsapp|dial|fax|contact)\b|电话|手机|联系|致电|热线|传真|号码)"
    r"[^0-9+\n]{0,20}$",
    re.IGNORECASE,
)
_BARE_NUMBER = re.compile(rf"{_START}(?<![-+#$€£])\(?[0-9](?:[ .\-()]{{0,2}}[0-9]){{6,12}}{_END}")
_IPV4 = re.compile(r"(?<![0-9A-Za-z.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:])(?:[0-9A-Fa-f]{1,4}:|::){2,7}[0-9A-Fa-f:]{0,39}(?![0-9A-Za-z:])")
_VERSION = re.compile(r"(?:\b(?:v|ver|version|section|chapter)|版本?|§)[ .:：]*$", re.IGNORECASE)

# All that the patterns of numbers and addresses take lies in a run of such characters. A run is found much sooner.
_Run = tuple[int, int]
_NUMBER_RUN = re.compile(r"[0-9 .\-_/()+Xx×]{7,}")
_IPV4_RUN = re.compile("[0-9.]{7,}")
_IPV6_RUN = re.compile("[0-9A-Fa-f:]{8,}")

_TO = r"(?:\sis\s|\sare\s|[\s:：=＝是为,，;；→~\-]{0,3})"
_WECHAT_NAME = (
    r"(?:[微薇威徽溦v][^\w\n]{0,2}信|卫\s?星(?=\s?(?:号|[:：]))|微\s?x|薇\s?x|v\s?信"
    r"|(?<![a-z])(?:v\s?x|w\s?x|wei\s?xin|wechat|we chat)(?![a-z])"
    r"|(?:加|\+|➕|联系)\s?(?:我|下|个)?的?\s?[v薇威微](?![a-z]))"
)
_WECHAT = rf"(?:{_WECHAT_NAME}|(?<![a-z0-9])[vw](?=\s?[:：]))"
_ACCOUNT_WORD = r"(?:\s?(?:账号|帐号|号码|号|同号|id|account|number|name|no\.?))?"
_LETTERS_ID = r"[a-z][a-z0-9_-]{4,19}(?![a-z0-9_])"
_MIXED_ID = r"(?=[a-z_-]*[0-9_])[a-z][a-z0-9_-]{4,19}(?![a-z0-9_])"
_NUMBER_ID = r"[1-9](?:[ -]?[0-9]){4,11}(?![0-9])"
_MOBILE_ID = r"1[3-9](?:[ -]?[0-9]){9}(?![0-9])"
_CLEAR = r"\s?(?:[:：=]|是|is)\s?"
# Behind each what is in every text that they find, and is looked for sooner.
_HANDLES: list[tuple[str, Callable[[str], object], list[re.Pattern[str]]]] = [
    (
        "wechat",
        re.compile(
            r"[微薇威徽溦]|卫\s?星|v(?:[^\w\n]{0,2}信|\s?[信x:：])|w(?:\s?[x:：]|ei\s?xin|e ?chat)"
            r"|[加+➕系]\s?[我下个]?的?\s?v"
        ).search,
        [
            # "Act V : Title" is none, as English texts write it.
            re.compile(rf"(?:{_WECHAT_NAME}{_ACCOUNT_WORD}{_CLEAR}|(?<![a-z0-9])[vw][:：]\s?)@?(?P<id>{_LETTERS_ID})"),
            re.compile(rf"{_WECHAT}{_ACCOUNT_WORD}{_TO}@?(?P<id>{_MIXED_ID}|{_MOBILE_ID}|{_NUMBER_ID})"),
            re.compile(rf"(?:加|➕|\+|联系)\s?(?:我|下|个)?的?\s?(?:v\s?x|w\s?x|[v薇威微]信?)\s?(?P<id>{_MIXED_ID})"),
            re.compile(rf"(?:加|添加|\+|add)\s?(?:我|my|me on)?的?\s?{_WECHAT}号?\s?(?P<id>{_LETTERS_ID})"),
        ],
    ),
    (
        "qq",
        re.compile(r"q\s?(?:q|[:：]?\s?[0-9])|扣\s?扣|企鹅|球球").search,
        [
            re.compile(
                r"(?:(?<![a-z])q\s?q(?![a-z])|扣\s?扣|企鹅号?|球球号?|(?<![a-z0-9])q(?=\s?[:：]?\s?[0-9]{6}))群?"
                rf"{_ACCOUNT_WORD}{_TO}(?P<id>{_NUMBER_ID})"
            )
        ],
    ),
    (
        "handle",
        re.compile("@").search,
        [re.compile(r"(?:telegram|(?<![a-z])tg(?![a-z])|电报|飞机)(?:号|id)?\s?[:：]?\s?(?P<id>@[a-z]\w{3,31})")],
    ),
    (
        "handle",
        Words(NAMED_BEFORE_COLONS).stand_in,
        [
            re.compile(
                r"(?<![a-z])(?:line\s?id|kik|snap(?:chat)?|skype|discord|telegram|instagram|insta|ig"
                r"|抖音号|快手号|小红书号|微博号|陌陌号?)"
                r"(?: id| name| username| handle)?\s?[:：]\s?@?(?P<id>[a-z0-9][a-z0-9_.#-]{3,29}(?![a-z0-9_]))"
            )
        ],
    ),
]

_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE = re.compile(
    rf"(?<![A-Za-z0-9])[{_PROVINCES}][A-HJ-NP-Z][ .·•-]?(?=[A-Z]{{0,2}}[0-9]|[0-9])(?=[A-Z0-9]*[0-9][A-Z0-9]*[0-9])"
    rf"(?:[A-HJ-NP-Z0-9]{{6}}|[A-HJ-NP-Z0-9]{{4}}[A-HJ-NP-Z0-9挂学警港澳])(?![A-Za-z0-9])"
)
_PLATE_SMALL = re.compile(
    rf"(?<![A-Za-z0-9])[{_PROVINCES}][a-hj-np-z][ .·•-]?[a-hj-np-z0-9]?[0-9]{{4}}[a-hj-np-z0-9](?![A-Za-z0-9])"
)
_NUMBER = "(?:[0-9]{1,5}|[一二三四五六七八九十百]{1,5})"
_ADDRESS_ZH = re.compile(
    rf"[\u4e00-\u9fff]{{2,6}}(?P<road>路|街|大道|道|巷|胡同|弄)"
    rf"{_NUMBER}(?:弄{_NUMBER})?号"
    rf"(?:院|小区)?[\u4e00-\u9fff]{{0,8}}?(?:[A-Za-z0-9一二三四五六七八九十]{{1,4}}"
    rf"(?:号楼|栋|幢|座|单元|楼|层|室|号|户)[, ]?)+(?:[0-9]{{3,4}}室?)?"
)
# What stands before the road, from the province down: a name and one of these.
_AREAS = ("省", "自治区", "市", "区", "县", "镇", "乡")
_AREA_NAME = range(2, 8)
# Words that a greedy beginning of an address takes with it.
_BEFORE_ADDRESS = re.compile(r".{0,4}?(?:地址是?|住在|住|寄到|寄往|寄|送到|送|位于|在|到)")
_ADDRESS_EN = re.compile(
    r"(?<![\w$#.])[0-9]{1,5}[A-Za-z]? (?:[NSEW]\.? )?(?:[A-Z][a-z]{2,}|[0-9]{1,3}(?:st|nd|rd|th))(?: [A-Z][a-z]+)? "
    r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Terrace|Way)\b\.?"
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|#)\.? ?#?[A-Za-z0-9]{1,5})?"
)


def find_personal_data(text: str) -> list[Found]:
    """What is personal in a text, in order; nothing overlaps.

    Args:
        text: Any text.
    """
    signs = find_signs(text)
    return [] if signs is None else _found_behind(signs, text)


def _found_behind(signs: Signs, text: str) -> list[Found]:
    seen = see_through(text)
    links: list[tuple[int, int]] | None = None
    taken: list[tuple[int, int, str]] = []
    for kind, start, end in _candidates(seen, signs):
        links = link_spans(seen.plain) if links is None else links
        if not (_overlaps(taken, start, end) or _overlaps(links, start, end)):
            insort(taken, (start, end, kind))
    return [Found(kind, *seen.span(start, end)) for start, end, kind in taken]


def _overlaps(spans: Sequence[tuple[Any, ...]], start: int, end: int) -> bool:
    """Whether any of some spans, in order and apart from each other, has a character of this one."""
    behind = bisect_left(spans, (end,))
    return behind > 0 and spans[behind - 1][1] > start


def replace_personal_data(text: str, kinds: Collection[str] = frozenset(PLACEHOLDERS)) -> tuple[str, list[Found]]:
    """The text with a placeholder for each thing found, and what was found in the text as it came.

    Args:
        text: Any text.
        kinds: Which kinds are replaced, of `PLACEHOLDERS`.
    """
    everything = find_personal_data(text)
    found = [one for one in everything if one.kind in kinds] if everything else []
    if not found:
        return text, found
    language = 0 if _HAN.search(text) else 1
    parts, last = [], 0
    for one in found:
        parts += [text[last : one.start], PLACEHOLDERS[one.kind][language]]
        last = one.end
    return "".join([*parts, text[last:]]), found


def _candidates(seen: SeenThrough, signs: Signs) -> Iterator[tuple[str, int, int]]:
    """The surest kinds first."""
    plain, digits = seen.plain, seen.digits
    if signs.emails and ("@" in plain or _EMAIL_HINT.search(plain)):
        for pattern in _EMAILS:
            yield from _spans("email", pattern.finditer(plain))
    runs = list(_runs(_NUMBER_RUN, digits)) if signs.numbers else []
    if runs:
        cards = _found_in(runs, _ID_CARD, digits)
        yield from _spans("id_card", (found for found in cards if is_id_card(bare(found[0]))))
    if signs.handles:
        low = digits.lower() if len(digits.lower()) == len(digits) else digits
        for kind, may_have, patterns in _HANDLES:
            for pattern in patterns if may_have(low) else ():
                yield from ((kind, *found.span("id")) for found in pattern.finditer(low))
    if signs.numbers:
        yield from _cards(digits, runs)
    if signs.addresses:
        yield from _ip_addresses(plain)
    if signs.numbers:
        yield from _spans("phone", _phones(digits, runs))
    if signs.plates:
        for pattern in (_PLATE, _PLATE_SMALL):
            yield from _spans("plate", pattern.finditer(plain))
    if signs.streets:
        yield from _streets(plain)
    if signs.houses:
        yield from _spans("address", _ADDRESS_EN.finditer(plain))


def _streets(plain: str) -> Iterator[tuple[str, int, int]]:
    last = 0
    for found in _ADDRESS_ZH.finditer(plain):
        start = _start_of_areas(plain, last, range(found.start(), found.start("road") - 1))
        before = _BEFORE_ADDRESS.match(plain, start, found.end())
        last = found.end()
        yield "address", before.end() if before else start, last


def _start_of_areas(text: str, least: int, roads: range) -> int:
    """Where the areas before a road begin, as far before it as they can.

    A pattern of them would try every way of cutting a text into areas, of which there may be billions.

    Args:
        text: All of it.
        least: Where they begin at least.
        roads: Where the road's name may begin.
    """
    starts = set(roads)
    waiting = list(roads)
    while waiting:
        end = waiting.pop()
        for area in _AREAS:
            if text.endswith(area, least, end):
                name_end = end - len(area)
                for start in (name_end - length for length in _AREA_NAME):
                    if start >= least and start not in starts and _ONLY_HAN.fullmatch(text, start, name_end):
                        starts.add(start)
                        waiting.append(start)
    return min(starts)


def _cards(digits: str, runs: list[_Run]) -> Iterator[tuple[str, int, int]]:
    cards = _found_in(runs, _CARD, digits)
    cards = (found for found in cards if is_grouped(found[0]) and is_bank_card(bare(found[0])))
    return _spans("bank_card", cards)


def _ip_addresses(plain: str) -> Iterator[tuple[str, int, int]]:
    for pattern, run, version in ((_IPV4, _IPV4_RUN, 4), (_IPV6, _IPV6_RUN, 6)):
        for found in _found_in(_runs(run, plain), pattern, plain):
            is_version = _VERSION.search(plain, max(0, found.start() - 12), found.start())
            if is_ip_address(found[0], version) and not is_version:
                yield "ip", *found.span()


def _spans(kind: str, found: Iterable[re.Match[str]]) -> Iterator[tuple[str, int, int]]:
    return ((kind, *match.span()) for match in found)


def _runs(pattern: re.Pattern[str], text: str) -> Iterator[_Run]:
    return (run.span() for run in pattern.finditer(text))


def _found_in(runs: Iterable[_Run], pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """What a pattern finds that takes only characters of runs; it sees one more, which ends the run."""
    for start, end in runs:
        yield from pattern.finditer(text, start, end + 1)


def _phones(digits: str, runs: list[_Run]) -> Iterator[re.Match[str]]:
    for match in _found_in(runs, _MOBILE, digits):
        if is_grouped(match[0]) and is_telephone("+86" + bare(match[0])[-11:]):
            yield match
    for match in _found_in(runs, _INTERNATIONAL, digits):
        number = bare(match[0])
        if is_telephone("+" + number.removeprefix("00")):
            yield match
    for match in _found_in(runs, _LANDLINE, digits):
        if bare(match[0]).startswith("400") or is_telephone("+86" + bare(match[0])[1:]):
            yield match
    for match in _found_in(runs, _AMERICAN, digits):
        if is_telephone("+1" + bare(match[0])[-10:]):
            yield match
    for match in _found_in(runs, _BARE_NUMBER, digits):
        if _CALLED.search(digits, max(0, match.start() - 40), match.start()) and is_national(bare(match[0])):
            yield match
