"""The marks of many tools come to a weight and to parts of a content, and what looks like one is not overlooked."""

from typing import Any

import pytest

from megatron_redone.curation.conversations.turn_marks import (
    UnknownMarks,
    check_known,
    last_answers,
    learned_characters,
    looks_like_mark,
    mark_all,
    take_marks,
    turn_weight,
    without_ignored,
    without_marks,
)
from megatron_redone.formats.input_records import InvalidRecordError

MARKS = {
    "OpenAI, Mistral, Together": ({"weight": 0}, 0),
    "a weight": ({"weight": 0.5}, 0.5),
    "ms-swift, XTuner": ({"loss": False}, 0),
    "ms-swift's scale": ({"loss_scale": 0.25}, 0.25),
    "LLaMA-Factory": ({"loss_weight": 0.0}, 0),
    "axolotl": ({"train": False}, 0),
    "axolotl's other name": ({"training": False}, 0),
    "tinker": ({"trainable": False}, 0),
    "slime": ({"step_loss_mask": 0}, 0),
    "torchtune": ({"masked": True}, 0),
    "two marks": ({"weight": 0.5, "loss_scale": 0.5}, 0.25),
    "one says no": ({"train": True, "weight": 0}, 0),
    "all say yes": ({"train": True, "weight": 1, "masked": False, "loss": 1.0}, 1),
}


@pytest.mark.parametrize("name", list(MARKS))
def test_every_tools_mark_is_a_weight(name: str) -> None:
    marks, weight = MARKS[name]
    message: dict[str, Any] = {"role": "assistant", "content": "x", **marks}
    found = take_marks(message)
    assert found == {"weight": weight} and turn_weight(found) == weight
    assert message == {"role": "assistant", "content": "x"}
    assert take_marks(dict(found)) == found  # what was read is read as itself


def test_a_turn_without_marks_counts_in_full() -> None:
    assert take_marks({"role": "assistant", "content": "x"}) == {} and turn_weight({}) == 1


PARTS = [
    {"begin_offset": 0, "end_offset": 4, "train": False},
    {"begin_offset": 5, "end_offset": 9, "train": True},
]


def test_axolotls_parts_are_ranges_whose_last_character_is_included() -> None:
    found = take_marks({"content": "x" * 10, "train_detail": PARTS})
    assert learned_characters(found) == [(5, 10)] and take_marks(dict(found)) == found
    assert without_marks({"content": "x", **found}) == {"content": "x"}
    assert learned_characters({}) is None
    assert take_marks({"train_detail": []}) == {"weight": 0}  # as axolotl: nothing of it


BAD: list[tuple[dict[str, Any], str]] = [
    ({"weight": 2}, "the mark 'weight' is not true"),
    ({"loss": -0.5}, "the mark 'loss' is not true"),
    ({"train": "no"}, "the mark 'train' is not true"),
    ({"train_detail": "all"}, "'train_detail' is not an array"),
    ({"train_detail": [{"begin_offset": 3, "end_offset": 2, "train": True}]}, "'train_detail' has a part without"),
    ({"train_detail": [{"begin_offset": 0, "end_offset": 2}]}, "'train_detail' has a part whose 'train'"),
    ({"train_detail": PARTS, "training_detail": PARTS}, "both train_detail and training_detail"),
]


@pytest.mark.parametrize(("marks", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_marks_that_mean_nothing_are_refused(marks: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=reason):
        take_marks(dict(marks))


def test_what_looks_like_a_mark() -> None:
    marks = ("do_train", "isTrainable", "lossMask", "no_loss", "LOSS", "assistant_masks", "learn", "sample_weights")
    others = (
        "role",
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "reasoning_content",
        "thinking",
        "closs",
        "unmask",
    )
    assert all(map(looks_like_mark, marks)) and not any(map(looks_like_mark, others))


def test_unknown_marks_are_listed_all_at_once_unless_ignored() -> None:
    messages = [{"role": "user", "content": "x", "train_id": 7}, {"role": "assistant", "content": "y", "no_loss": True}]
    with pytest.raises(UnknownMarks) as error:
        check_known(messages)
    assert error.value.names == ["no_loss", "train_id"]
    record = {"messages": messages, "loss": 2.5, "tools": [{"name": "f", "parameters": {"train_id": {}}}]}
    kept = without_ignored(record, ["train_id", "no_loss", "loss"])
    check_known(kept["messages"])
    assert kept["tools"] == record["tools"] and "loss" not in kept


CHAT = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]


@pytest.mark.parametrize(
    ("marks", "weights"),
    [
        ({}, [1, 1]),
        ({"weight": 0.5}, [0.5, 0.5]),
        ({"loss_multiplier": 0.0}, [0, 0]),
        ({"train": False}, [0, 0]),
        ({"mask_history": True}, [0, 1]),
        ({"mask_history": True, "weight": 0.5}, [0, 0.5]),
        ({"label": True, "id": 7, "mask": "User", "split": "train", "loss_note": "x"}, [1, 1]),
    ],
)
def test_marks_of_a_record_hold_for_its_answers(marks: dict[str, Any], weights: list[float]) -> None:
    found = mark_all({"messages": CHAT, **marks}, CHAT)
    assert [turn_weight(message) for message in found if message["role"] == "assistant"] == weights
    assert all("weight" not in message for message in found if message["role"] == "user")


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        ({"label": False}, "'label' is false: its answer is one that is not wanted"),
        ({"kto_tag": False}, "'kto_tag' is false"),
        ({"loss": 2.31}, "the mark 'loss' is not true.*ignored_marks"),
        ({"assistant_masks": [0, 1, 1]}, "unknown marks of what is learned: assistant_masks"),
        (
            {"loss_mask": [0, 1], "train_on_prompt": True},
            "unknown marks of what is learned: loss_mask, train_on_prompt",
        ),
        ({"weight": [0, 1]}, "unknown marks of what is learned: weight"),
    ],
)
def test_marks_of_a_record_that_cannot_be_obeyed_are_refused(marks: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=reason):
        mark_all({"messages": CHAT, **marks}, CHAT)


def test_the_last_answers_follow_the_last_question_that_has_one() -> None:
    assert last_answers(CHAT) == 2 and last_answers([*CHAT, CHAT[0]]) == 2 and last_answers(CHAT[1:2]) == 0
