"""Texts on which two tokenizers that differ will most likely show it."""

import random
from collections.abc import Sequence

_SAMPLES = [
    "a", " ", "\n", "\t\t", "  a  b ", "\r\n\r\n  x\n\n", "\u00a0\u3000\u200b\u2028 z", "trailing   ",
    "The quick brown fox can't, won't; HE'LL've I'D 'S don’t — “quotes” … and/or 50% off!!!",
    "1234567890 3.14159 1,000,000 2025-07-10 12:30 #2 ½ ² ① ٣٤٥ १२३",
    "def f(x):\n    return {'a': [x ** 2, None]}  # comment\n\tif (a&&b) || !c { ++i; }",
    "https://example.org/a?b=c&d=%20#e user@example.org @user #topic# $TSLA :-) ^_^ ¯\\_(ツ)_/¯",
    "今天去吃了那家新开的火锅店，味道绝绝子！！姐妹们冲鸭～人均80💰，#美食探店[话题]# [笑哭R]",
    "台北的天氣真好，我們去淡水看夕陽吧。「引號」、頓號；全形ＡＢＣ１２３！",
    "こんにちは、世界。カタカナ ﾊﾝｶｸ 漢字まじり文です。", "안녕하세요 세계 ㅋㅋㅋ ㅠㅠ 각 각", "สวัสดีชาวโลก ภาษาไทย",
    "Привет, мир! Ёжик Щука", "Γειά σου Κόσμε ΐ", "مرحبا بالعالم ـــ لَا", "שלום עולם שָׁלוֹם", "नमस्ते दुनिया क्षत्रिय",
    "বাংলা তামিழ் தமிழ் తెలుగు", "Tiếng Việt có dấu ế ữ", "İstanbul ışık ß ẞ ﬁ ﬂ Ǆ",
    "é é ñ ñ Å Å Å ộ Ộ", "👍🏽 👨‍👩‍👧‍👦 🇨🇳🇺🇸 ❤️ ☺ 🤷‍♀️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "𝒳𝓎𝔷 𠮷野家 🀄 \U0001f9ff",
    "\x00\x01\x07\x1b[0m\x7f\x85", "\ufeffBOM \ufffd replacement", "▁under ▁▁ Ġ Ċ ĉ", "x" * 300, "哈" * 200, "=-" * 100,
    "supercalifragilisticexpialidocious antidisestablishmentarianism AbCdEfG camelCaseWord snake_case_word",
]  # fmt: skip

# Blocks of Unicode from which random strings are drawn: Latin, Greek, Cyrillic, Hebrew, Arabic, Indic,
# Thai, Hangul jamo, punctuation, symbols, kana, CJK, compatibility forms, emoji.
_BLOCKS = [
    (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF),
    (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2190, 0x22FF),
    (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFE30, 0xFFEF), (0x1F300, 0x1FAFF),
]  # fmt: skip


def probe_texts(special_tokens: Sequence[str]) -> list[str]:
    """A few hundred short texts of many scripts, the special tokens written into some of them."""
    return [*_SAMPLES, *_around(special_tokens), *_random_texts()]


def _around(special_tokens: Sequence[str]) -> list[str]:
    texts = list(special_tokens)
    texts += [f"end {token} then\n{token}{token}x" for token in special_tokens]
    return texts


def _random_texts() -> list[str]:
    rng = random.Random(20250710)
    texts = []
    for _ in range(200):
        words = []
        for _ in range(rng.randint(1, 8)):
            low, high = rng.choice(_BLOCKS)
            words.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))))
        texts.append(rng.choice(["", " ", "  ", "\n"]).join(words))
    return texts
