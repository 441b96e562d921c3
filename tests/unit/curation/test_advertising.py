"""Advertising that asks for contact is found, and ordinary talk about the same things is not."""

import random

import pytest

from megatron_redone.curation import advertising
from megatron_redone.curation.advertising import find_advertising, has_link, link_fraction, without_links

# Numbers and names are made up; the wording is that of real advertising.
ADVERTISING = [
    ("需要的宝宝加微信 abc_0000 了解", "wechat account"),
    ("代购包邮，威信：xyz00000", "wechat account"),
    ("vx：hello_000000", "wechat account"),
    ("➕V信 test0000aa 备注小红薯", "wechat account"),
    ("微❤信 abc00000，秒回", "wechat account"),
    ("V: abc12300 诚信", "wechat account"),
    ("收皮肤，扣扣000000", None),  # no such number: none begins with 0
    ("收皮肤，扣扣990000000001", "qq account"),
    ("有意者联系QQ：990000000004", "qq account"),
    ("企鹅990000000002，黑店勿扰", "qq account"),
    ("交流群号码：990000000003，欢迎加入", "group number"),
    ("join t.me/not_a_real_channel for signals", "telegram account"),
    ("Telegram: @not_a_real_name", "telegram account"),
    ("WhatsApp me on +00 000 000 0000", "whatsapp number"),
    ("online jobs, more info WhatsApp no 5550000000", "whatsapp number"),
    ("my kik is made_up_00", "chat account"),
    ("add me on snapchat for pics", "asks for contact"),
    ("dm me for prices and delivery", "asks for contact"),
    ("想减肥的姐妹加V了解一下", "asks for contact"),
    ("详情加我微信", "asks for contact"),
    ("想要资料的私信领取", "asks for contact"),
    ("扫码进群领优惠券", "asks for contact"),
    ("sub 4 sub anyone?", "asks for contact"),
    ("招聘兼职，电话13000000000，日结", "phone number to call"),
    ("Cheap cruises! Call 1-555-010-0000 today", "phone number to call"),
    ("全场五折 400-000-0000 客服", "phone number to call"),
    ("专业搬家，价格实惠，电话010-00000000", "phone number to call"),
    ("Hot horny milf, call me +1 (555) 010-0000", "phone number to call"),
    ("Shoes 50% off, free shipping https://example.com/s", "offer with a link"),
    ("代购正品保证 http://example.com/a", "offer with a link"),
]

TALK = [
    "微信支付今天崩了吗？",
    "我妈微信里全是养生文章",
    "加个微信吧，以后常联系",
    "他加V认证了，现在是大V",
    "怎么把微信好友迁到新手机",
    "QQ音乐的歌单又没了",
    "我的QQ号用了十五年",
    "雪媚娘冰皮qq弹弹的",
    "加油！加薇也没用，哈哈",
    "赵薇演的紫薇和小燕子",
    "飞机晚点两小时，电报局门口见",
    "裙子150块，群里都说好看",
    "Telegram is down again",
    "snapchat is pretty awful honestly",
    "the kik drum is too loud",
    "call me maybe",
    "I work from home, best decision ever",
    "police escort the minister to the border https://example.com/news",
    "the gym is better than porn https://example.com/joke",
    "Charlie is working a part time job at the station https://example.com/v",
    "He scored 1523648856 points, lol",
    "In 1999-2000 he made 400 saves in 120 games",
    "order number 20240101123456 never arrived",
    "Your call, text or email, I don't care",
    "our line is long, drop me a message later",
    "买一送一也太划算了，昨天去超市抢了两箱",
    "50% off would still be too expensive",
    "v: 速度，t: 时间，求路程",
    "ISBN 9783741211324",
    "医保报销的问题可以打当地热线 0000-0000000 咨询，我昨天刚问过",
    "这种情况建议直接拨打消协电话：010-00000000，他们会处理",
    "护照办理进度可以致电出入境 0000-0000000 查询",
    "your order is delayed; please call us at 1-800-555-0199 and we will look into it",
    "银行客服是 400-000-0000，挂失要带身份证",
    "Call your senator today: 202-555-0100, and tell them to vote no",
    "my sister is missing, if you see her PLEASE call me (5550106067)",
    "you should be able to pop that back in. If not, give us a call at 1-800-555-0199",
    "#Missing in Virginia. Call the police at (555) 010-5000 with any information",
]


@pytest.mark.parametrize(("text", "kind"), ADVERTISING)
def test_advertising_is_found(text: str, kind: str | None) -> None:
    assert find_advertising(text) == kind


@pytest.mark.parametrize("text", TALK)
def test_talk_survives(text: str) -> None:
    assert find_advertising(text) is None


def test_share_of_links() -> None:
    assert link_fraction("no link at all, 3/4 of it") == (0, 0.0)
    links, share = link_fraction("看这里 https://t.cn/abc 哈")
    assert links == 1
    assert share == pytest.approx(len("https://t.cn/abc") / len("看这里https://t.cn/abc哈"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("look https://t.co/Ab1 here", "look here"),
        ("去https://example.com/a?b=c看看", "去 看看"),
        ("www.example.com", ""),
        ("bit.ly/2abcDEF", ""),
        ("first\nhttps://example.com/x\nlast", "first\n\nlast"),
        ("and/or, 3/4, http, a.b", "and/or, 3/4, http, a.b"),
    ],
)
def test_links_are_taken_out(text: str, expected: str) -> None:
    assert without_links(text) == expected
    assert has_link(text) is (text != expected)


def test_a_link_in_capitals_beside_an_offer_is_found() -> None:
    assert find_advertising("WWW.SHOP.COM buy now, free shipping today") == "offer with a link"


def test_around_its_signs_every_link_is_found() -> None:
    """The oracle is the pattern over all of the text."""
    rng = random.Random(3)
    pieces = ["http://", "HTTPS://", "www.", "WWW.", "t.cn/", "TinyURL.com/", "youtu.be", "/", "//", ":", "a", "w.",
              "é", "中", "，", '"', "<", " ", "\n", "\u3000", "\x1c", "x.com", "and/or"]  # fmt: skip
    found = 0
    for _ in range(6000):
        text = "".join(rng.choices(pieces, k=rng.randint(1, 9)))
        pattern = advertising._ASCII_LINK if text.isascii() else advertising._LINK
        everywhere = [match.span() for match in pattern.finditer(text)]
        assert advertising._found_links(text) == everywhere, text
        found += len(everywhere)
    assert found > 1000
