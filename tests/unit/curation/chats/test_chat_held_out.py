"""What is held out goes by content alone."""

import random

import numpy as np
import pytest

from megatron_redone.curation.chats.chat_batches import EncodedItem
from megatron_redone.curation.chats.chat_held_out import HeldOut
from megatron_redone.curation.conversations.conversation import content_key


def items(texts: list[str]) -> list[EncodedItem]:
    empty = np.zeros(0, np.uint32), np.zeros(0, np.uint8)
    return [EncodedItem(*empty, (0,), content_key(text)) for text in texts]


def divide(texts: list[str], share: float, count: int) -> tuple[list[int], list[int]]:
    held_out = HeldOut(share, count)
    learned, validation = [], []
    for start in range(0, len(texts), 7):
        one, other = held_out.divide(items(texts[start : start + 7]))
        learned += one
        validation += other
    validation += held_out.finish()
    return [item.key for item in learned], [item.key for item in validation]


TEXTS = [f"text {number}" for number in range(1000)]


@pytest.mark.parametrize(("share", "count"), [(0.1, 0), (0.0, 37), (0.0, 0), (0.0, 2000)])
def test_the_order_does_not_matter_and_nothing_is_lost(share: float, count: int) -> None:
    learned, validation = divide(TEXTS, share, count)
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    learned_2, validation_2 = divide(shuffled, share, count)
    assert sorted(learned) == sorted(learned_2) and sorted(validation) == sorted(validation_2)
    assert sorted(learned + validation) == sorted(content_key(text) for text in TEXTS)
    if count:
        assert len(validation) == min(count, 1000) and validation == validation_2
    else:
        assert len(validation) == pytest.approx(share * 1000, abs=30)


@pytest.mark.parametrize(("share", "count"), [(0.3, 0), (0.0, 30)])
def test_equal_content_is_never_on_both_sides(share: float, count: int) -> None:
    learned, validation = divide(TEXTS[:100] * 3, share, count)
    assert not set(learned) & set(validation)
    assert len(learned) + len(validation) == 300
    if count:
        assert len(validation) == 90


def test_what_is_held_out_of_a_source_stays_so_when_it_grows() -> None:
    _, before = divide(TEXTS[:500], 0.1, 0)
    _, after = divide(TEXTS, 0.1, 0)
    assert set(before) <= set(after)
