"""What every format of pairs shares: a common prompt, rewards, and pairs from which nothing can be learned."""

from typing import Any

import pytest

from megatron_redone.curation.pair_formats.pair import PreferencePair, checked, read_rewards, split_common_prompt
from megatron_redone.formats.input_records import InvalidRecordError


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


WHY, YES, NO = turn("user", "Why?"), turn("assistant", "Yes."), turn("assistant", "No.")


def test_two_dialogues_are_put_together_again_from_their_parts() -> None:
    chosen, rejected = [WHY, YES, WHY, YES], [WHY, YES, WHY, NO]
    pair = PreferencePair(*split_common_prompt(chosen, rejected), tools=[{"name": "f"}])
    assert (pair.prompt, pair.chosen, pair.rejected) == ([WHY, YES, WHY], [YES], [NO])
    sides = pair.conversations()
    assert [side.messages for side in sides] == [chosen, rejected]
    assert all(side.tools == pair.tools for side in sides) and checked(pair) is pair


def test_a_dialogue_that_goes_on_where_the_other_ends_is_no_pair() -> None:
    with pytest.raises(InvalidRecordError, match="chosen and rejected are the same"):
        split_common_prompt([WHY, YES], [WHY, YES])
    with pytest.raises(InvalidRecordError, match="a response that does not end with a turn of the assistant"):
        checked(PreferencePair(*split_common_prompt([WHY, YES, WHY, NO], [WHY, YES])))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"chosen_reward": 1, "rejected_reward": 1.0}, "a tie"),
        ({"chosen_reward": 1, "rejected_reward": 2}, "the rejected response has the higher reward"),
        ({"score_chosen": 1, "score_rejected": 2}, "the rejected response has the higher reward"),
        ({"chosen_score": 1, "rejected_score": 2}, "the rejected response has the higher reward"),
        ({"chosen-rating": 1, "rejected-rating": 1}, "a tie"),
        ({"chosen_reward": 1}, "a reward is missing or not a finite number"),
        ({"chosen_reward": float("nan"), "rejected_reward": 0}, "a reward is missing or not a finite"),
        ({"chosen_reward": "5", "rejected_reward": 0}, "a reward is missing or not a finite number"),
        ({"chosen_reward": True, "rejected_reward": 0}, "a reward is missing or not a finite number"),
    ],
)
def test_rewards_that_do_not_speak_for_the_pair(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=f"^{reason}"):
        read_rewards(record)


def test_rewards_are_none_or_two_numbers() -> None:
    assert read_rewards({"chosen": "x", "chosen_reward": None}) is None
    assert read_rewards({"chosen_reward": 0, "rejected_reward": -3}) == (0.0, -3.0)
