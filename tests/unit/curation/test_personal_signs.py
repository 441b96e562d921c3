"""What is looked for sooner is never narrower than the patterns behind it: texts are made from the patterns."""

import random
import re
from collections.abc import Iterator

import pytest

pytest.importorskip("ahocorasick_rs")
pytest.importorskip("phonenumbers")

from megatron_redone.curation import personal_data
from megatron_redone.curation.personal_data import find_personal_data
from megatron_redone.curation.personal_signs import Signs, find_signs, with_no_sign
from megatron_redone.curation.seen_through import see_through
from tests.helpers.regex_texts import text_of

EVERYTHING = Signs(True, True, True, True, True, True, True)
NUMBERS = ("_ID_CARD", "_CARD", "_MOBILE", "_LANDLINE", "_INTERNATIONAL", "_AMERICAN", "_BARE_NUMBER")
# By the sign that leads to them, those whose every find counts; numbers must agree with more than their pattern.
PATTERNS = {
    "handles": [pattern for _, _, patterns in personal_data._HANDLES for pattern in patterns],
    "plates": [personal_data._PLATE, personal_data._PLATE_SMALL],
    "streets": [personal_data._ADDRESS_ZH],
    "houses": [personal_data._ADDRESS_EN],
}
INVISIBLE = "\u200b\ufe0f\u200d\u2060\u00ad"
WIDE = {chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)} | {" ": "\u3000"}
CHINESE_DIGITS = dict(zip("0123456789", "零一二三四五六七八九", strict=True))


def texts_of(pattern: re.Pattern[str], number: int = 400) -> Iterator[str]:
    """Texts that a pattern may find something in, some in the disguises that are seen through."""
    rng = random.Random(7)
    for _ in range(number):
        around = ["", " ", "好", "x", "\n", "1", "@user "]
        text = rng.choice(around) + text_of(pattern, rng) + rng.choice(around)
        table = rng.choice([{}, {}, WIDE, CHINESE_DIGITS])
        text = "".join(table.get(one, one) if rng.random() < 0.3 else one for one in text)
        if rng.random() < 0.3:
            place = rng.randint(0, len(text))
            text = text[:place] + rng.choice(INVISIBLE) + text[place:]
        yield text.upper() if rng.random() < 0.1 else text


@pytest.mark.parametrize(
    ("sign", "number"), [(sign, number) for sign, patterns in PATTERNS.items() for number in range(len(patterns))]
)
def test_a_text_that_a_pattern_finds_has_its_sign(sign: str, number: int) -> None:
    pattern = PATTERNS[sign][number]
    hints = [may_have for _, may_have, patterns in personal_data._HANDLES if pattern in patterns]
    found = 0
    for text in texts_of(pattern):
        seen = see_through(text)
        form = seen.digits.lower() if sign == "handles" else seen.plain
        if pattern.search(form):
            found += 1
            signs = find_signs(text)
            assert signs is not None and getattr(signs, sign), text
            assert with_no_sign([text]) == set(), text
            assert all(may_have(form) for may_have in hints), text
    assert found > 40


@pytest.mark.parametrize("name", [*NUMBERS, "_IPV4", "_IPV6", "_EMAILS.0", "_EMAILS.1"])
def test_what_is_found_without_looking_for_signs_is_found_with_them(name: str) -> None:
    name, _, number = name.partition(".")
    found = getattr(personal_data, name)
    for text in texts_of(found[int(number)] if number else found):
        everything = personal_data._found_behind(EVERYTHING, text)
        if re.search(r"@[\W_]*user", see_through(text.lower()).plain):  # one that was masked is no address, on purpose
            everything = [one for one in everything if one.kind != "email"]
        assert [one for one in find_personal_data(text) if one in everything] == everything, text
        assert not everything or with_no_sign([text]) == set(), text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("有事找我 Q123456789", "qq"),
        ("加 v abc123456", "wechat"),
        ("加我的v abc12345", "wechat"),
        ("联系下v abc_12345", "wechat"),
        ("卫 星：abc12345", "wechat"),
        ("w x abc12345", "wechat"),
        ("威❤信 abc12345", "wechat"),
        ("陌陌：abc12345", "handle"),
        ("抖音号 ：abc12345", "handle"),
        ("v\u200bx abc12345", "wechat"),
        ("ＶＸ：abc12345", "wechat"),
        ("from 2a00:abcd::beef:cafe", "ip"),
        ("bob{at}example{dot}com", "email"),
        ("bob [ at ] example.com", "email"),
        ("bob\tat example\tdot com", "email"),
        ("send it to 12B Baker Street", "address"),
        ("send it to 12\u00a0Baker Street", "address"),
        ("ring 020 7🄌46 0018, 🄌", "phone"),
        # A domain that begins as a masked mention does.
        ("12345+bob@users.noreply.github.com", "email"),
        ("bob@userland.org", "email"),
        ("bob@user.org", "email"),
        ("thanks @user, bob@user-group.org", "email"),
    ],
)
def test_a_spelling_that_only_the_patterns_knew_is_found(text: str, kind: str) -> None:
    assert [found.kind for found in find_personal_data(text)] == [kind]
    assert with_no_sign([text]) == set()


@pytest.mark.parametrize("text", ["@user", "thanks @user. And @user!", "谢谢@user 好", "@user你好", "Act V : Skyrim"])
def test_a_mention_that_is_masked_stays(text: str) -> None:
    assert find_personal_data(text) == []


def test_emoji_are_no_sign() -> None:
    assert with_no_sign(["好开心❤️", "👨‍👩‍👧 ☀️✌🏻️", "❤"]) == {"好开心❤️", "👨‍👩‍👧 ☀️✌🏻️", "❤"}
