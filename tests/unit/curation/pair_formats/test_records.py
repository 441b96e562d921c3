"""Every format of preference pairs, and every kind of bad record to its reason."""

import dataclasses
import json
from typing import Any

import pytest

from megatron_redone.config.prepare_preferences import PreferenceFormat, PreferenceSource
from megatron_redone.curation.conversations.turn_marks import UnknownMarks
from megatron_redone.curation.pair_formats.pair import PreferencePair
from megatron_redone.curation.pair_formats.records import read_pair, recognise
from megatron_redone.formats.input_records import InvalidRecordError
from tests.helpers.shared_data import FOLDER, needs_shared_data

SOURCE = PreferenceSource(input=["x.jsonl"], name="x")


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


SYSTEM, WHY, HOW = turn("system", "Be brief."), turn("user", "Why?"), turn("user", "How?")
YES, NO, SO = turn("assistant", "Yes."), turn("assistant", "No."), turn("assistant", "So.")
DIALOGUE = [SYSTEM, WHY, SO, HOW]

HH = "\n\nHuman: Why?\n\nAssistant: So.\n\nHuman: How?\n\nAssistant: "
NEMO = "<extra_id_0>System\nBe brief.\n<extra_id_1>User\nWhy?\n<extra_id_1>Assistant\nSo.\n<extra_id_1>User\nHow?\n"

# The record, its prompt; the responses are "Yes." and "No." in all of them.
GOOD: dict[str, tuple[PreferenceFormat, dict[str, Any], list[dict[str, Any]]]] = {
    "nemo": (PreferenceFormat.nemo, {"prompt": "Why?", "chosen_response": "Yes.", "rejected_response": "No."}, [WHY]),
    "nemo's own template": (
        PreferenceFormat.nemo,
        {
            "prompt": f"{NEMO}<extra_id_1>Assistant\n",
            "chosen_response": "Yes.\n<extra_id_1>",
            "rejected_response": "No.\n<extra_id_1>",
        },
        DIALOGUE,
    ),
    "nemo's messages": (
        PreferenceFormat.nemo,
        {"prompt": DIALOGUE, "chosen_response": "Yes.", "rejected_response": "No."},
        DIALOGUE,
    ),
    "trl strings": (PreferenceFormat.trl, {"prompt": "Why?", "chosen": "Yes.", "rejected": "No."}, [WHY]),
    "trl messages": (PreferenceFormat.trl, {"prompt": DIALOGUE, "chosen": [YES], "rejected": [NO]}, DIALOGUE),
    "trl without a prompt": (
        PreferenceFormat.trl,
        {"chosen": [*DIALOGUE, YES], "rejected": [*DIALOGUE, NO]},
        DIALOGUE,
    ),
    "trl with the prompt repeated": (
        PreferenceFormat.trl,
        {"prompt": DIALOGUE, "chosen": [*DIALOGUE, YES], "rejected": [*DIALOGUE, NO]},
        DIALOGUE,
    ),
    "ultrafeedback": (
        PreferenceFormat.trl,
        {"prompt": "Why?", "chosen": [WHY, YES], "rejected": [WHY, NO], "score_chosen": None, "score_rejected": None},
        [WHY],
    ),
    "llama-factory sharegpt": (
        PreferenceFormat.sharegpt,
        {
            "conversations": [
                {"from": "human", "value": "Why?"},
                {"from": "gpt", "value": "So."},
                {"from": "human", "value": "How?"},
            ],
            "system": "Be brief.",
            "chosen": {"from": "gpt", "value": "Yes."},
            "rejected": {"from": "gpt", "value": "No."},
        },
        DIALOGUE,
    ),
    "llama-factory alpaca": (
        PreferenceFormat.alpaca,
        {"instruction": "Why", "input": "now?", "chosen": "Yes.", "rejected": "No."},
        [turn("user", "Why\nnow?")],
    ),
    "nemo-rl": (
        PreferenceFormat.nemo_rl,
        {
            "context": DIALOGUE,
            "completions": [{"rank": 1, "completion": [NO]}, {"rank": 0, "completion": [YES]}],
        },
        DIALOGUE,
    ),
    "openai": (
        PreferenceFormat.openai,
        {"input": {"messages": DIALOGUE}, "preferred_output": [YES], "non_preferred_output": [NO]},
        DIALOGUE,
    ),
    "ms-swift": (PreferenceFormat.ms_swift, {"messages": [*DIALOGUE, YES], "rejected_response": "No."}, DIALOGUE),
    "ms-swift's messages": (
        PreferenceFormat.ms_swift,
        {"messages": [*DIALOGUE, YES], "rejected_messages": [*DIALOGUE, NO]},
        DIALOGUE,
    ),
    "ms-swift's query": (
        PreferenceFormat.ms_swift,
        {"query": "Why?", "response": "Yes.", "rejected_response": "No."},
        [WHY],
    ),
    "orca": (
        PreferenceFormat.orca,
        {"system": "Be brief.", "question": "Why?", "chosen": "Yes.", "rejected": "No."},
        [SYSTEM, WHY],
    ),
    "helpsteer3": (
        PreferenceFormat.helpsteer3,
        {"domain": "general", "context": DIALOGUE, "response1": "Yes.", "response2": "No.", "overall_preference": -2},
        DIALOGUE,
    ),
    "hh-rlhf": (PreferenceFormat.hh_rlhf, {"chosen": f"{HH}Yes.", "rejected": f"{HH}No."}, DIALOGUE[1:]),
}


@pytest.mark.parametrize("name", list(GOOD))
def test_every_format_is_recognised_and_read(name: str) -> None:
    format, record, prompt = GOOD[name]
    assert recognise(record, SOURCE) is format
    assert read_pair(record, format, SOURCE) == PreferencePair(prompt, [YES], [NO])


def test_ultrafeedback_before_it_was_binarized() -> None:
    completions = [{"response": text, "overall_score": n} for n, text in enumerate(("No.", "So.", "Yes."))]
    record = {"source": "x", "instruction": "Why?", "models": ["a"], "completions": completions}
    assert recognise(record, SOURCE) is PreferenceFormat.ultrafeedback
    pair = read_pair(record, PreferenceFormat.ultrafeedback, SOURCE)
    assert pair == PreferencePair([WHY], [YES], [NO], None, (2.0, 0.0), unused=1)


def test_marks_of_records_and_turns_are_read_in_pairs_too() -> None:
    pair = read_pair(trl([{**YES, "train": False}], "No.", weight=0.5), PreferenceFormat.trl, SOURCE)
    assert [pair.chosen[0]["weight"], pair.rejected[0]["weight"]] == [0, 0.5]
    with pytest.raises(UnknownMarks, match="no_loss"):
        read_pair(trl([{**YES, "no_loss": True}], "No."), PreferenceFormat.trl, SOURCE)
    ignoring = PreferenceSource(input=["x"], name="x", ignored_marks=["no_loss"])
    assert read_pair(trl([{**YES, "no_loss": True}], "No."), PreferenceFormat.trl, ignoring).chosen == [YES]


def test_variables_of_a_record_are_those_of_both_sides() -> None:
    pair = read_pair(trl("Yes.", "No.", enable_thinking=False), PreferenceFormat.trl, SOURCE)
    assert all(side.variables == {"enable_thinking": False} for side in pair.conversations())


def test_rewards_and_the_sources_system_prompt() -> None:
    source = PreferenceSource(input=["x"], name="x", system="Be brief.")
    record = {"prompt": "Why?", "chosen": "Yes.", "rejected": "No.", "chosen_reward": 4, "rejected_reward": -0.5}
    pair = read_pair(record, PreferenceFormat.trl, source)
    assert pair == PreferencePair([SYSTEM, WHY], [YES], [NO], None, (4.0, -0.5))
    scored = {
        **{name: record[name] for name in ("prompt", "chosen", "rejected")},
        "score_chosen": 2,
        "score_rejected": 1,
    }
    assert read_pair(scored, PreferenceFormat.trl, SOURCE).rewards == (2.0, 1.0)


def test_responses_of_several_messages() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    record = {"prompt": [WHY], "chosen": [call, turn("tool", "7"), YES], "rejected": [NO]}
    pair = read_pair(record, PreferenceFormat.trl, SOURCE)
    assert [message["role"] for message in pair.chosen] == ["assistant", "tool", "assistant"]


def trl(chosen: Any, rejected: Any, prompt: Any = "Why?", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("trl", {"chosen": [WHY, YES], "rejected": [WHY, YES]}, "chosen and rejected are the same"),
    ("trl", {"chosen": [WHY, YES], "rejected": [HOW, NO]}, "the prompts of the two differ"),
    ("trl", {"chosen": [WHY, SO, HOW, YES], "rejected": [WHY, SO, WHY, NO]}, "the prompts of the two differ"),
    ("trl", {"chosen": [WHY, YES], "rejected": [WHY]}, "a response that does not end with a turn of the assistant"),
    ("trl", {"chosen": [YES], "rejected": [NO]}, "no prompt"),
    ("trl", trl("", "No."), "an empty turn of the assistant"),
    ("trl", trl("Yes.", "No.", prompt=""), "an empty turn of the user"),
    ("trl", trl("Yes.", 7), "messages are a number, not an array"),
    ("trl", {"prompt": "Why?", "chosen": "Yes."}, "no key 'rejected'"),
    ("trl", trl("Yes.", "No.", chosen_reward=1, rejected_reward=1.0), "a tie"),
    ("nemo", {"prompt": "Why?", "chosen_response": "Yes.", "rejected_response": ""}, "'rejected_response' is empty"),
    ("nemo", {"prompt": 7, "chosen_response": "Yes.", "rejected_response": "No."}, "messages are a number"),
    ("hh_rlhf", {"chosen": f"{HH}Yes.", "rejected": f"{HH}"}, "an empty turn of the assistant"),
    ("hh_rlhf", {"chosen": f"{HH}Yes.", "rejected": "No."}, "not a transcript"),
    (
        "hh_rlhf",
        {"chosen": f"{HH}Yes.", "rejected": "\n\nHuman: What?\n\nAssistant: No."},
        "the prompts of the two differ",
    ),
    ("sharegpt", {"conversations": [], "chosen": {"from": "cat", "value": "x"}, "rejected": "y"}, "unknown role 'cat'"),
    ("alpaca", {"instruction": "", "chosen": "x", "rejected": "y"}, "'instruction' is empty"),
]


@pytest.mark.parametrize(("format", "record", "reason"), BAD)
def test_bad_records_are_refused_with_the_reason(format: str, record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError) as error:
        read_pair(record, PreferenceFormat[format], SOURCE)
    assert str(error.value).startswith(reason)


@pytest.mark.parametrize("record", [{"chosen": [YES], "rejected": [NO]}, {"chosen": [WHY, YES], "rejected": [HOW, NO]}])
def test_a_systems_prompt_is_no_prompt_where_there_is_none(record: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecordError, match="prompt"):
        read_pair(record, PreferenceFormat.trl, dataclasses.replace(SOURCE, system="You are helpful."))


def test_what_is_no_preference_record() -> None:
    for record in ({"messages": []}, {"chosen": "Yes.", "rejected": "No."}, {"prompt": "Why?", "chosen": "Yes."}):
        assert recognise(record, SOURCE) is None


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "format", "good"),
    [
        ("dpo_en_demo.json", "sharegpt", 300),
        ("dpo_zh_demo.json", "sharegpt", 300),
        ("hh_rlhf_harmless_a.jsonl", "hh_rlhf", 1152),
    ],
)
def test_real_files(name: str, format: str, good: int) -> None:
    text = (FOLDER / "dpo" / name).read_text(encoding="utf-8")
    records = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    assert {recognise(record, SOURCE) for record in records} == {PreferenceFormat[format]}
    pairs = []
    for record in records:
        try:
            pairs.append(read_pair(record, PreferenceFormat[format], SOURCE))
        except InvalidRecordError as error:
            assert str(error) == "an empty turn of the assistant"
    assert len(pairs) == good
    if format == "hh_rlhf":
        speakers = {"user": "Human", "assistant": "Assistant"}
        turns = [f"\n\n{speakers[message['role']]}: {message['content']}" for message in pairs[0].prompt]
        assert len(turns) > 1 and records[0]["chosen"].startswith("".join(turns))
