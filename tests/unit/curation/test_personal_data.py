"""Personal data: what is found through which spelling, and what only looks like it and stays."""

import random
import re
import time

import pytest

from megatron_redone.curation import personal_data
from megatron_redone.curation.personal_data import find_personal_data, replace_personal_data

FOUND = [
    ("mail me at john.doe@example.com.", "mail me at [email]."),
    ("发到 zhang＠qq．com 谢谢", "发到 [邮箱] 谢谢"),
    ("john (at) gmail (dot) com works", "[email] works"),
    ("我的电话是138 0013 8000，明天见", "我的电话是[电话号码]，明天见"),
    ("手机一三八零零一三八零零零", "手机[电话号码]"),
    ("打１３８００１３８０００找我", "打[电话号码]找我"),
    ("打1️⃣3️⃣8️⃣0️⃣0️⃣1️⃣3️⃣8️⃣0️⃣0️⃣0️⃣找我", "打[电话号码]找我"),
    ("+86-138-0013-8000", "[phone number]"),
    ("座机 010-62345678", "座机 [电话号码]"),
    ("ring +44 7911 123456 now", "ring [phone number] now"),
    ("call me (415) 555-2671", "call me [phone number]"),
    ("身份证11010519491231002X丢了", "身份证[身份证号]丢了"),
    ("4111-1111-1111-1111 is my card", "[card number] is my card"),
    ("attacked from 106.57.45.181 again", "attacked from [IP address] again"),
    ("at 2001:db8:85a3::8a2e:370:7334 now", "at [IP address] now"),
    ("加我V：zhangsan_88 聊", "加我V：[微信号] 聊"),
    ("vx abc12345 有货", "vx [微信号] 有货"),
    ("薇❤信 abc123456", "薇❤信 [微信号]"),
    ("扣扣12345678", "扣扣[QQ号]"),
    ("Add me on snap: cool_guy", "Add me on snap: [handle]"),
    ("京A12345挡我车位", "[车牌号]挡我车位"),
    ("沪AD12345 和 沪A1", "[车牌号] 和 沪A1"),
    ("寄到浦东新区张江路88号3栋502室", "寄到[地址]"),
    ("at 12 Baker Street, London", "at [address], London"),
]
STAYS = [
    "微信支付 100元", "version 10.12.13.14", "身份证110105194912310021", "4111-1111-1111-1112", "5 6 7 8 9 10 11 12",
    "2012-05-06 12:30:45", "一二三四五六七八九十", "https://example.com/13800138000", "@user RT 20170320",
    "Hi @user . You should", "scored 3-2, 4-1, 5-0", "1,380,013,800 people", "QQ音乐 2020", "see you at 10 Main event",
    "我在北京3年了", "wechat is down", "teeth of 3.1.4.2", "12345678901234567890", "ISBN 978-7-302-51234",
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_what_is_personal_gets_a_placeholder_and_the_rest_stays(text: str, expected: str) -> None:
    pytest.importorskip("phonenumbers")
    masked, found = replace_personal_data(text)
    assert masked == expected and len(found) == 1


@pytest.mark.parametrize("text", STAYS)
def test_what_only_looks_like_it_stays(text: str) -> None:
    pytest.importorskip("phonenumbers")
    assert replace_personal_data(text) == (text, [])


def test_places_are_those_of_the_text_as_it_came() -> None:
    pytest.importorskip("phonenumbers")
    number = "1️⃣3️⃣8️⃣\u200b0️⃣0️⃣1️⃣3️⃣8️⃣0️⃣0️⃣0️⃣"
    [found] = find_personal_data(f"\ufeff打{number}！")
    assert f"\ufeff打{number}！"[found.start : found.end] == number


def test_only_the_kinds_that_are_asked_for_are_replaced() -> None:
    pytest.importorskip("phonenumbers")
    text = "a@example.com or 京A12345"
    assert replace_personal_data(text, ["plate"])[0] == "a@example.com or [车牌号]"


def test_a_bank_card_needs_its_checksum() -> None:
    """Of the ten last digits exactly one is right."""
    rng = random.Random(0)
    for _ in range(50):
        body = "622202" + "".join(rng.choices("0123456789", k=12))
        assert sum(bool(find_personal_data(f"卡 {body}{last}")) for last in range(10)) == 1


def test_a_log_of_many_addresses_takes_as_long_as_it_is_long() -> None:
    """Each used to be compared with all before it: of twenty thousand, for half a minute."""
    log = "\n".join(f"10.2{i % 10}.{i % 250}.1{i % 90:02d} GET https://example.com/{i}" for i in range(20_000))
    started = time.process_time()
    assert len(find_personal_data(log)) == 20_000
    assert time.process_time() - started < 10


# One pattern for a Chinese address with its areas, which takes twice as long for each area more that leads to no road.
_NUMBER = "(?:[0-9]{1,5}|[一二三四五六七八九十百]{1,5})"
ADDRESS = re.compile(
    "(?:[\u4e00-\u9fff]{2,7}?(?:省|自治区|市|区|县|镇|乡))*[\u4e00-\u9fff]{2,6}(?:路|街|大道|道|巷|胡同|弄)"
    rf"{_NUMBER}(?:弄{_NUMBER})?号(?:院|小区)?[\u4e00-\u9fff]{{0,8}}?(?:[A-Za-z0-9一二三四五六七八九十]{{1,4}}"
    "(?:号楼|栋|幢|座|单元|楼|层|室|号|户)[, ]?)+(?:[0-9]{3,4}室?)?"
)
PARTS = [
    "广东",
    "省",
    "广西",
    "自治区",
    "市",
    "区",
    "老城区",
    "县",
    "镇",
    "乡",
    "新",
    "张江",
    "路",
    "大道",
    "弄",
    "12号",
]
PARTS += ["八号", "3栋", "502室", "住在", "寄到", "，", "x", "好的朋友们", "中山路12号3栋", "解放巷8号2单元"]


def test_the_areas_before_a_road_are_those_of_one_pattern() -> None:
    rng = random.Random(2)
    found = 0
    for _ in range(6000):
        text = "".join(rng.choices(PARTS, k=rng.randint(1, 8))) + rng.choice(["", *PARTS[-2:]])
        expected = [(match.start(), match.end()) for match in ADDRESS.finditer(text)]
        spans = []
        for start, end in expected:
            before = personal_data._BEFORE_ADDRESS.match(text, start, end)
            spans.append(("address", before.end() if before else start, end))
        assert list(personal_data._streets(text)) == spans, text
        found += len(spans)
    assert found > 2000


def test_areas_that_lead_to_no_road_do_not_hang() -> None:
    """Forty areas in a row, as a list of places has them, took longer than anybody waits."""
    assert find_personal_data("市区" * 40 + "x路12号") == []
    [found] = find_personal_data("朝阳区海淀区" * 2000 + "中山路12号3栋")
    assert (found.start, found.kind) == (0, "address")


def test_what_overlaps_is_told_as_by_comparing_with_all() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        borders = sorted(rng.sample(range(30), 2 * rng.randint(0, 5)))
        spans = list(zip(borders[::2], borders[1::2], strict=True))
        start = rng.randint(0, 28)
        end = rng.randint(start + 1, 30)
        assert personal_data._overlaps(spans, start, end) == any(start < b and a < end for a, b in spans)


NUMBERS = (
    "_ID_CARD", "_CARD", "_MOBILE", "_LANDLINE", "_INTERNATIONAL", "_AMERICAN", "_BARE_NUMBER",
)  # fmt: skip
PIECES = [
    *(found for found, _ in FOUND), *STAYS, "+", "(", ")", "86", "010", "1", "138", "00", "6222", ".", "-", " ", "/",
    "x", "×", "a", "中", "\n", ",", "#", "$", ":", "::", "f", "@", " at ", " dot ", "(at)", "com", "v", "w", "vx", "微",
    "信", "加", "我", "的", "卫", "星", "qq", "扣", "abc_1234", "1234567", "号", "：",
]  # fmt: skip


def test_what_is_looked_for_sooner_leaves_nothing_out() -> None:
    """The oracle is each pattern over all of the text."""
    rng = random.Random(5)
    found = 0
    for _ in range(6000):
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 9))).lower()
        runs = list(personal_data._runs(personal_data._NUMBER_RUN, text))
        for name in NUMBERS:
            pattern = getattr(personal_data, name)
            everywhere = [match.span() for match in pattern.finditer(text)]
            assert [match.span() for match in personal_data._found_in(runs, pattern, text)] == everywhere, (name, text)
            found += len(everywhere)
        for kind, may_have, patterns in personal_data._HANDLES:
            assert may_have(text) or not any(pattern.search(text) for pattern in patterns), (kind, text)
        if not personal_data._EMAIL_HINT.search(text):
            assert not any(pattern.search(text) for pattern in personal_data._EMAILS), text
    assert found > 1000
