"""Links, and advertising that asks the reader to get in touch elsewhere.

Three kinds of evidence, in falling order of strength: an account named together with its channel
(`加微信 abc_888`, `whatsapp +1 ...`), a phone number beside a word that asks to call, and a request
without an account (`加V了解`, `DM me for prices`). The mention of a channel alone (`微信支付`,
`telegram is down`) is none; nor is the number of an office, a hotline or somebody's home in an answer that
offers nothing (`医保问题可以打 010-... 咨询`): only a Chinese mobile number needs no offer beside it.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

from megatron_redone.curation.folding import fold, folded
from megatron_redone.curation.joined_texts import Words, starts_of, texts_with
from megatron_redone.curation.scripts import may_have_digits

# Letters of any case that are taken for one another, as re.IGNORECASE does, beside a letter's own two.
_TAKEN_FOR = {"i": "\u0130\u0131", "s": "\u017f", "k": "\u212a"}


def _in_any_case(word: str) -> str:
    """A pattern that begins with a set of letters, for which a text is searched far faster than for re.IGNORECASE."""
    return "".join(f"[{c}{c.upper()}{_TAKEN_FOR.get(c, '')}]" if c.isalpha() else re.escape(c) for c in word)


def _as_a_word(word: str) -> str:
    """Likewise, where no letter stands before it; that is asked last, for the same reason."""
    first, rest = _in_any_case(word[0]), _in_any_case(word[1:])
    return rf"{first}(?<!\w{first}){rest}"


_SHORTENERS = ("t.cn", "t.co", "t.me", "bit.ly", "tinyurl.com", "goo.gl", "youtu.be", "dwz.cn", "url.cn")
_BEGINNING = rf"(?:{_in_any_case('http')}{_in_any_case('s')}?://|{_in_any_case('www.')})"
_SHORTENED = rf"(?:{'|'.join(map(_as_a_word, _SHORTENERS))})/[\w/+-]+"
_LINK = re.compile(rf"{_BEGINNING}[^\s<>\"'，。！？；、）】》」\u4e00-\u9fff]+|{_SHORTENED}")
# The same characters of ASCII: a small set is looked up faster.
_ASCII_LINK = re.compile(rf"{_BEGINNING}[\x00-\x08\x0e-\x1b!#-&(-;=?-\x7f]+|{_SHORTENED}")

# What a link has within its first characters; a pattern that begins with a set is looked for faster.
_LINK_SIGN = re.compile(r"[/wW](?:(?<=/)|\.)")
_BEFORE_SIGN = len("tinyurl.com")
_SPACE = re.compile(r"\s")

# One of these is in every text that any of the patterns below can find; looking for them is quick.
_HINTS = tuple(
    [
        "微",
        "薇",
        "威信",
        "溦信",
        "v信",
        "加v",
        "+v",
        "vx",
        "wx",
        "weixin",
        "wechat",
        "qq",
        "q q",
        "q:",
        "q：",
        "扣扣",
        "企鹅",
        "群",
        "裙",
        "私信",
        "私聊",
        "扫码",
        "扫一扫",
        "扫描",
        "公众号",
        "v:",
        "v：",
        "w:",
        "w：",
        "telegram",
        "t.me",
        "tg",
        "电报",
        "飞机",
        "whats",
        "wa.me",
        "line",
        "kik",
        "snap",
        "skype",
        "dm ",
        "pm ",
        "inbox",
        "message",
        "text",
        "4sub",
        "4 sub",
        "for sub",
        "forsub",
        "4follow",
        "4 follow",
        "forfollow",
        "for follow",
        "f4f",
    ]
)
_HINT = Words(_HINTS)
# Written out, so that it begins with a set of characters.
_MANY_DIGITS = re.compile(r"\d\d\d(?:\d\d|[- .)]{1,2}\d\d\d)")

# A mark put inside a channel's name to get past filters: 微❤信, 薇♥信, v❤信.
_SPLIT_NAME = re.compile(r"([微薇威v扣])[^\w\s,.:;!?()，。：；！？、@#/+\-]{1,3}(?=[信薇微x扣])")

# Channels' names, some in disguise; a name and its account may be parted by a few marks.
_WECHAT = r"(?:微信|薇信|威信|徽信|溦信|微x|薇x|v信|加v|(?<![a-z])(?:vx|wx|weixin|wechat)(?![a-z]))"
_QQ = r"(?:(?<![a-z])q\s?q(?![a-z])|扣扣|企鹅号?|(?<![a-z])q(?=\s?[:：]?\s?\d{6}))"
_GAP = r"[^\w\n+]{0,4}"
_CALLED = rf"(?:号码?|同号|群号?|群号码|id|account|number|no\.?)?(?:是|为|is)?{_GAP}"
_MOBILE_CN = r"(?<![\d.])(?:\+?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)"
_NAME = r"(?=[a-z0-9_-]*\d)[a-z][a-z0-9_-]{5,19}(?!\w)"  # with a digit, unlike a word that happens to follow

# Each with words one of which is in every text that its pattern finds.
_WECHAT_NAMES = ("微", "薇", "威信", "徽信", "溦信", "v信", "加v", "vx", "wx", "weixin", "wechat")
_ACCOUNTS = [
    ("wechat account", _WECHAT_NAMES, rf"{_WECHAT}{_CALLED}(?:{_NAME}|{_MOBILE_CN}|\d{{6,11}}(?!\d))"),
    ("wechat account", _WECHAT_NAMES, rf"{_WECHAT}(?:号|id|同号)?[:：]\s?[a-z][a-z0-9_-]{{5,19}}(?!\w)"),
    ("wechat account", _WECHAT_NAMES, rf"(?:加|关注)我?的?{_WECHAT}号?{_GAP}[a-z][a-z0-9_-]{{4,19}}(?!\w)"),
    ("wechat account", ("v:", "v：", "w:", "w："), rf"(?<![a-z])[vw][:：]\s?(?:{_NAME}|{_MOBILE_CN})"),
    ("qq account", ("q", "扣扣", "企鹅"), rf"{_QQ}{_CALLED}[1-9]\d{{5,12}}(?!\d)"),
    ("group number", ("群", "裙"), rf"(?:群号码?|裙号?|(?:加|进|入|交流|粉丝)群){_GAP}[1-9]\d{{5,12}}(?!\d)"),
    ("telegram account", (".me/",), r"(?<![\w.])(?:t|telegram)\.me/\+?[a-z][\w+]{3,}"),
    (
        "telegram account",
        ("telegram", "tg", "电报", "飞机"),
        rf"(?:(?<![a-z])(?:telegram|tg)|电报|飞机号?){_GAP}@[a-z]\w{{4,31}}",
    ),
    ("whatsapp number", ("what", "wa.me/"), r"(?:whats?\s?app|wa\.me/)[^\d\n]{0,16}\+?\d[\d\s().-]{7,17}"),
    ("whatsapp number", ("what",), r"\+?\d[\d\s().-]{7,17}[^\d\n]{0,6}whats?\s?app"),
    ("line account", ("line",), r"(?<![a-z])line\s?id\s?[:：]\s?@?[a-z0-9_.-]{4,20}"),
    (
        "chat account",
        ("kik", "snap", "skype"),
        r"(?<![a-z#])(?:kik|snap(?:chat)?|skype)(?: id| name| username)?\s?[:：@]\s?@?[a-z][\w.]{3,}",
    ),
    (
        "chat account",
        ("my kik", "my snap", "my skype"),
        r"\bmy (?:kik|snap(?:chat)?|skype)(?: id| name)? is [a-z.]*[\d_][\w.]*",
    ),
]

_CHANNEL = r"(?:微信|薇信?|威信|徽信|v信?|vx|wx|微|扣扣|qq?)(?!认证|博|商|视频|[a-z])"
_ADD = r"(?:加|\+|添加)\s?(?:我|下我?|个|一下|老师|客服|小编)?的?\s?"
_REQUESTS = [
    (
        ("加", "+"),
        rf"{_ADD}{_CHANNEL}[^\n]{{0,8}}"
        r"(?:了解|咨询|详|领|免费|获取|资料|私聊|进群|拉你|报名|下单|购买|报价|优惠|返利|兼职|代理|有偿)",
    ),
    (
        ("加", "+"),
        r"(?:需要|想要|有意|感兴趣|详情|合作|购买|下单|报名)[^\n。！？!?]{0,10}"
        rf"(?:加|\+)\s?(?:我|下)?\s?{_CHANNEL}",
    ),
    (("微信", "公众号"), r"(?:微信|公众号)(?:搜索?|关注)[^\n]{0,12}(?:领取|免费|获取|优惠|红包|资料)"),
    (("私信", "私聊"), r"(?:私信|私聊)我?(?:领取|领资料|获取资料|获取链接|拿资料|报价|下单|进群|拉群|免费领)"),
    (("扫",), r"扫(?:码|一扫|描二维码)[^\n]{0,12}(?:领|免费|优惠|进群|加群|入群|红包|下单|购买|报名)"),
    (
        (" me", " us"),
        r"\b(?:whats?\s?app|telegram|inbox|dm|pm|message|text|kik|snap) (?:me|us)(?: now| today| directly)?"
        r" ?(?:for|to|if|at|on|\+|with) ?(?:a |an |the |more |any |your |all |my |our )?"
        r"(?:order|detail|info|pric|promo|quote|book|buy|invest|earn|join|collab|business|rate|deal|discount"
        r"|inquir|enquir|sign|start|learn|tickets?\b)",
    ),
    (
        ("what", " on "),
        r"\bwhats?\s?app (?:me|us)\b"
        r"|\b(?:hmu|hit me up|add me|add us) on (?:whats?app|telegram|kik|snap|skype|wechat)",
    ),
    (
        ("sub", "follow", "f4f"),
        r"\bsub\s?(?:4|for)\s?sub\b|\bfollow\s?(?:4|for)\s?follow\b|(?<![a-z])f4f(?![a-z])",
    ),
]

_MOBILE = re.compile(_MOBILE_CN)
_PHONE = re.compile(
    r"(?<![\d-])400[- ]?\d{3}[- ]?\d{4}(?![\d-])"
    r"|(?<![\d+.,-])0\d{2,3}-\d{7,8}(?![\d-])"
    r"|(?<![\d.,-])\+\d{1,3}[- .]?\(?\d{2,4}\)?(?:[- .]?\d{2,4}){2,3}(?![\d-])"
    r"|(?<![\d.,-])(?:1[- .])?\(?\d{3}\)?[- .]\d{3}[-.]\d{4}(?![\d-])"
    r"|(?<![\w.,/=#-])\d{10,12}(?![\w-])"
)
_ASKS_TO_CALL = re.compile(
    r"电话|手机|联系|致电|来电|咨询|热线|客服|预[定约订]|短信|详询|同号|招聘|tel[:：]"
    r"|\b(?:call|text|ring|phone|mobile|cell|contact|sms|dial|hotline|inquir\w+|enquir\w+|bookings?|quote|appointments?)\b"
)

# Words that make an advertisement together with a link or a phone number, never alone.
_SELLING_ZH = (
    "代购|包邮|办证|开票|刷单|招代理|招商加盟|日赚|日结|月入|秒杀|优惠券|返利|套现|低价出售|厂家直销|批发价|正品保证"
)
_SELLING_EN = (
    r"\b(?:buy now|order now|shop now|free shipping|promo code|discount code|coupon|limited offer|% off|on sale now"
    r"|cash app|earn (?:money|cash|\$\d+|extra)|payday loans?"
    r"|make \$?\d+ ?(?:/|a|per) ?(?:day|hour|week))\b"
)
_SELLING = re.compile(rf"{_SELLING_ZH}|办理|贷款|下单|{_SELLING_EN}")
# Words that do it together with an office's number and a word that asks to call. Answers name such numbers too:
# what they say of an order, of a loan or of papers is none of these.
_OFFER = re.compile(
    rf"{_SELLING_ZH}|招聘|诚[聘招]|出售|转让|出租|高价(?:回收|收购)|订购|批发|特价|优惠|促销|打折|[一二三四五六七八九\d]折"
    r"|免费(?:试|领|送|上门)|上门(?:服务|维修|安装|取件)|加盟|代办|承接|搬家|开锁|包过"
    rf"|{_SELLING_EN}"
    r"|\b(?:(?:for|on) sale|selling|cheap(?:est)?|deals|discounts?|(?:special|we) offer|to order|orders|prices|bookings"
    r"|(?:instant|fast|free|same[- ]day) delivery|for rent|rentals|hiring|for hire"
    r"|free (?:quote|estimate|consultation|trial)s?|complimentary|your essay|escorts?|massages?)\b|\d ?% off"
)
# Two different ones beside a link; one alone also stands in news and in jokes.
_ADULT_PLAIN = (
    "xxx|porn|nsfw|milf|nude|naked|horny|pussy|cock|dick|boobs|tits|slut|blowjob|lesb|hentai|erotic|bokep|bbw"
    "|webcam|sexcam|livecam|directcam|camgirl|camsex|camslave|sexy|orgasm|bondage|hookups"
)
_ADULT = re.compile(
    rf"(?<![a-z])(?:{_ADULT_PLAIN}|cum(?:slut|shot|ming)|fuck(?:ing|ed)|sex (?:video|movie|tube|pic|dating|site|chat))"
)
_ADULT_WORDS = 2
# One of these is in every text that one of those two finds.
_OFFERED = Words(
    [*_SELLING_ZH.split("|"), "办理", "贷款", "下单", "buy now", "order now", "shop now", "free shipping", "promo code",
     "discount code", "coupon", "limited offer", "% off", "on sale now", "cash app", "earn ", "payday loan", "make ",
     *_ADULT_PLAIN.split("|"), "cum", "fuck", "sex "]
)  # fmt: skip

_FIND_ACCOUNT = [(name, needs, re.compile(pattern)) for name, needs, pattern in _ACCOUNTS]
_FIND_REQUEST = [(needs, re.compile(pattern)) for needs, pattern in _REQUESTS]


# Three digits are what a phone number begins with in ASCII.
_SIGN = Words([*_HINTS, "/", "www.", *(f"{number:03d}" for number in range(1000))])


def with_no_sign(texts: Collection[str]) -> set[str]:
    """Of many texts, told at once, most of those that have no link and nothing that `find_advertising` finds."""
    plain = [text for text in texts if text.isascii()]
    others = [text for text in texts if not text.isascii()]
    found = texts_with([_SIGN.places], plain, str.lower)
    found |= texts_with([_SIGN.places, starts_of(_MANY_DIGITS), starts_of(_SPLIT_NAME)], others, fold)
    return set(texts) - found


def find_advertising(text: str) -> str | None:
    """What makes a text an advertisement that asks for contact, in a few words, or None.

    Args:
        text: Cleaned text of a post or a comment.
    """
    plain = folded(text)
    if _has_link_too(plain, text) and _OFFERED.stand_in(plain):
        if _SELLING.search(plain):
            return "offer with a link"
        if len(set(_ADULT.findall(plain))) >= _ADULT_WORDS:
            return "adult offer with a link"
    if not plain.isascii():
        plain = _SPLIT_NAME.sub(r"\1", plain) if _SPLIT_NAME.search(plain) else plain
    digits = may_have_digits(plain, 5) and _MANY_DIGITS.search(plain)
    if not digits and not _HINT.stand_in(plain):
        return None
    for name, needs, pattern in _FIND_ACCOUNT:
        if _has_one(plain, needs) and pattern.search(plain):
            return name
    if any(_has_one(plain, needs) and pattern.search(plain) for needs, pattern in _FIND_REQUEST):
        return "asks for contact"
    return "phone number to call" if digits and _asks_to_call(plain) else None


def _asks_to_call(plain: str) -> bool:
    asks = _ASKS_TO_CALL.search(plain)
    if _MOBILE.search(plain):
        return bool(asks or _SELLING.search(plain))
    if not asks or not _PHONE.search(plain):
        return False
    return bool(_OFFER.search(plain)) or len(set(_ADULT.findall(plain))) >= _ADULT_WORDS


def _has_link_too(plain: str, text: str) -> bool:
    """Whether the folded text has a link.

    Of ASCII the text itself is asked first, whose links are remembered; `WWW.` in capitals only the folded one shows.
    """
    return (text.isascii() and has_link(text)) or has_link(plain)


def _has_one(text: str, words: Iterable[str]) -> bool:
    return any(map(text.__contains__, words))


def has_link(text: str) -> bool:
    """Whether a text has a web address."""
    return ("/" in text or "www." in text) and bool(_found_links(text))


@lru_cache(maxsize=16)
def _found_links(text: str) -> list[tuple[int, int]]:
    """Remembers the last texts: each is asked about several times in a row."""
    pattern = _ASCII_LINK if text.isascii() else _LINK
    return [match.span() for start, end in _places_of_links(text) for match in pattern.finditer(text, start, end)]


def _places_of_links(text: str) -> Iterator[tuple[int, int]]:
    """All of a text where a link can be: around a sign of one, to the end of the word."""
    end = 0
    while sign := _LINK_SIGN.search(text, end):
        start = max(end, sign.start() - _BEFORE_SIGN)
        space = _SPACE.search(text, sign.end())
        end = space.start() if space else len(text)
        yield start, end


def link_spans(text: str) -> list[tuple[int, int]]:
    """Where the links of a text stand."""
    return _found_links(text) if has_link(text) else []


def link_fraction(text: str) -> tuple[int, float]:
    """How many links a text has, and the fraction of its characters that they are without spaces."""
    if not has_link(text):
        return 0, 0.0
    links = _found_links(text)
    return len(links), sum(end - start for start, end in links) / len("".join(text.split()))


def without_links(text: str) -> str:
    """A text without its links, whose letters are of no language; `#tags` and `@names` stay."""
    if not has_link(text):
        return text
    return "\n".join(map(_line_without_links, text.split("\n"))).strip()


def _line_without_links(line: str) -> str:
    if not has_link(line):
        return line
    ends = [0, *(end for _, end in _found_links(line))]
    starts = [*(start for start, _ in _found_links(line)), len(line)]
    return " ".join(" ".join(line[a:b] for a, b in zip(ends, starts, strict=True)).split())
