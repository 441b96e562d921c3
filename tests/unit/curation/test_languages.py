"""Languages of posts, short ones too; what tells nothing is unknown."""

import pytest

pytest.importorskip("pycld2")

from megatron_redone.curation.languages import UNKNOWN, languages_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天天气真好", ("zh",)),
        ("183的男生", ("zh",)),
        ("今天開會到很晚，終於回家了", ("zh",)),
        ("lol that is so true", ("en",)),
        ("sooooo good", ("en",)),
        ("The committee will meet again in March to discuss the budget.", ("en",)),
        ("El comité se reunirá de nuevo en marzo para discutir el presupuesto del año que viene.", ("es",)),
        ("今日はとても暑いですね", ("ja",)),
        ("오늘 날씨가 정말 좋네요", ("ko",)),
        ("Сегодня очень хорошая погода, пойдём гулять в парк", ("ru",)),
        ("这个 app 真的 I love it so much", ("zh", "en")),
        ("PERDE ESSE MEDO E VEM CORRENDO ME CHAMAR", ("pt",)),
        # Faces, names and slang are no other language.
        ("请把几乎去掉，我整部电影就没看到过我女神ヽ(ー_ー)ノ", ("zh",)),
        ("鮮の每日果汁 我の最爱", ("zh",)),
        ("Lana Del Rey // Dark Paradise", (UNKNOWN,)),
        ("Boop boppity beep *AAAAAHHHHH.*", (UNKNOWN,)),
        ("Jai shri ram & jai hanuman", (UNKNOWN,)),
        ("Demi Lovato via Snapchat (theddlovato)", (UNKNOWN,)),
        ("😂😂 12345", (UNKNOWN,)),
        ("@user #tag https://example.com/the-end", (UNKNOWN,)),
        ("", (UNKNOWN,)),
    ],
)
def test_languages_are_told_or_unknown(text: str, expected: tuple[str, ...]) -> None:
    found = languages_of(text)
    assert found == expected or sorted(found) == sorted(expected) == ["en", "zh"]
