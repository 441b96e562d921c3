"""Units and lengths in several scripts."""

import random
import re

import pytest

from megatron_redone.curation.scripts import EMOJI, may_have_emoji, units, weighted_length


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, it’s fine", ["Don't", "stop", "it’s", "fine"]),
        ("今天吃了3碗饭", ["今", "天", "吃", "了", "3", "碗", "饭"]),
        ("iPhone手机好用", ["iPhone", "手", "机", "好", "用"]),
        ("すごい！", ["す", "ご", "い"]),
        ("정말 좋아요", ["정말", "좋아요"]),
        ("привет мир", ["привет", "мир"]),
        ("snake_case a-b", ["snake", "case", "a", "b"]),
        ("😂！？ …", []),
    ],
)
def test_units(text: str, expected: list[str]) -> None:
    assert units(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abc 12", 5), ("你好", 6), ("你好abc", 9), ("すし", 4), ("좋아", 4), ("😂!!! ……", 0), ("", 0)],
)
def test_a_chinese_character_counts_for_three_letters(text: str, expected: int) -> None:
    assert weighted_length(text) == expected


def test_a_sentence_is_about_as_long_in_both_languages() -> None:
    english = "I have never seen a lake that is as blue as this one."
    chinese = "我从来没见过像这样蓝的湖。"
    assert weighted_length(chinese) == pytest.approx(weighted_length(english), rel=0.2)


@pytest.mark.parametrize("one", ["😂", "❤️", "👍🏽", "👨‍👩‍👧", "🇨🇳", "⭐", "[泪]", "[捂脸]", "[doge]", "☀️"])
def test_one_emoji_is_one(one: str) -> None:
    assert EMOJI.findall(f"a{one}b") == [one]


@pytest.mark.parametrize("text", ["[1]", "[NAME]", "arr[0]", "(笑)", "™ © ° 100%", "【转发】", "[2024年5月更新说明]"])
def test_other_marks_are_no_emoji(text: str) -> None:
    assert EMOJI.findall(text) == []


def test_the_quick_ways_for_ascii_are_the_same() -> None:
    """A character that is not ASCII takes the other way, and is a unit and a letter of its own."""
    rng = random.Random(1)
    for _ in range(3000):
        text = "".join(rng.choices("ab'1 _-.[]()\n\tZ", k=rng.randint(0, 20)))
        assert units(text) == units(text + " 好")[:-1], text
        assert weighted_length(text) == weighted_length(text + "好") - 3 == len(re.sub(r"[\W_]", "", text))
    for text in ("😂", "🇨🇳", "[泪]", "好 [doge]", "a❤️b", "〰"):
        assert may_have_emoji(text) and EMOJI.search(text)
    assert not may_have_emoji("[ok]") and not may_have_emoji("好")
