"""Repetition that says nothing is found; emphasis, laughter, plays and lists survive."""

import pytest

from megatron_redone.config.curate import RepetitionConfig
from megatron_redone.curation.repetition import RepetitionLimits, find_repetition, measure_repetition

_DEFAULTS = RepetitionConfig()
LIMITS = RepetitionLimits(
    top_unit=_DEFAULTS.top_unit,
    repeated_ngrams=_DEFAULTS.repeated_ngrams,
    repeated_lines=_DEFAULTS.repeated_lines,
    emoji=_DEFAULTS.emoji,
    ngram=_DEFAULTS.ngram,
)

REPETITION = [
    ("😂😂😂😂😂", "emoji"),
    ("好 [泪][泪][泪][泪][泪]", "emoji"),
    ("please please please please please please please please please please make me one", "one word or character"),
    ("顶顶顶顶顶顶顶顶顶顶顶顶楼主好人", "one word or character"),
    ("左手右手左手右手左手右手左手右手左手右手左手右手左手右手左手右手", "phrases"),
    ("New post on my blog: " * 8, "phrases"),
    ("\n".join(["follow us on all the channels"] * 3 + ["nice weather today"]), "lines"),
]

SURVIVES = [
    "北京人偷井盖了！北京人偷井盖了！！北京人偷井盖了！",
    "and you get a gold! and you get a gold!! and you get a gold!!!",
    "哈哈哈哈哈哈哈哈哈哈哈哈哈哈这种男朋友",
    "hahaha ha ha ha ha ha ha ha ha ha ha ha that was great",
    "No no no no no, Op you are a brave one indeed",
    "I love watching this 😂😂😂😂😂",
    "草草草草草草草草，这也行",
    "\n\n".join(f"ROMEO:\nLine number {i} is unlike the others, my love.\n\nJULIET:\nSo is {i * 7}." for i in range(9)),
    "\n".join(["- 好看", "- 好看", "- 这家店的红烧肉真的绝了，肥而不腻", "- 求地址", "- 在老城区那条小巷里"]),
    "",
]


@pytest.mark.parametrize(("text", "kind"), REPETITION)
def test_repetition_is_found(text: str, kind: str) -> None:
    assert find_repetition(text, LIMITS) == kind


@pytest.mark.parametrize("text", SURVIVES)
def test_emphasis_survives(text: str) -> None:
    assert find_repetition(text, LIMITS) is None


@pytest.mark.parametrize("text", [text for text, _ in REPETITION] + ["a calm day by the lake", "", "哈" * 14])
def test_shares_that_are_measured_are_those_that_are_compared(text: str) -> None:
    shares = measure_repetition(text, LIMITS.ngram)
    goes = any(share > getattr(LIMITS, name) for name, share in shares.items())
    assert goes == (find_repetition(text, LIMITS) is not None)
    for name, share in shares.items():
        loose = {other: 1.0 for other in shares}
        at_it = RepetitionLimits(**{**loose, name: share}, ngram=LIMITS.ngram)
        below = RepetitionLimits(**{**loose, name: share - 1e-9}, ngram=LIMITS.ngram)
        assert find_repetition(text, at_it) is None
        assert share == 0 or find_repetition(text, below) is not None
