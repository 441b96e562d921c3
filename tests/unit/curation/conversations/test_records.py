"""Every format of conversations to messages, and every kind of bad record to its reason."""

import json
from typing import Any

import pytest

from megatron_redone.config.prepare_sft import ConversationFormat, ConversationSource, LossOn
from megatron_redone.curation.conversations.records import learned_turns, read_conversations, recognise
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.json_values import parse_object
from tests.helpers.shared_data import FOLDER, needs_shared_data

SOURCE = ConversationSource(input=["x.jsonl"], name="x")
GSM8K = ConversationSource(input=["x.jsonl"], name="x", prompt_key="question", completion_key="answer")


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def calling(*calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def asked(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def answered(message: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [turn("user", "Why?"), message]}


QUESTION = [turn("user", "Why?"), turn("assistant", "Because.")]
WITH_SYSTEM = [turn("system", "Be brief."), *QUESTION]
SHAREGPT = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]
NEMO = [{"from": "User", "value": "Why?"}, {"from": "Assistant", "value": "Because."}]
PARTS = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

GOOD: dict[str, tuple[ConversationFormat, dict[str, Any], list[dict[str, Any]]]] = {
    "messages": (ConversationFormat.messages, {"messages": WITH_SYSTEM}, WITH_SYSTEM),
    "content in parts": (
        ConversationFormat.messages,
        {"messages": [{"role": "user", "content": PARTS}, QUESTION[1]]},
        QUESTION,
    ),
    "sharegpt": (
        ConversationFormat.sharegpt,
        {"conversations": SHAREGPT, "system": "Be brief."},
        WITH_SYSTEM,
    ),
    "alpaca": (
        ConversationFormat.alpaca,
        {"instruction": "Answer", "input": "Why?", "output": "Because.", "system": "", "history": [["Hi", "Hello"]]},
        [turn("user", "Hi"), turn("assistant", "Hello"), turn("user", "Answer\nWhy?"), turn("assistant", "Because.")],
    ),
    "alpaca without input": (
        ConversationFormat.alpaca,
        {"instruction": "Why?", "input": "", "output": "Because.", "system": "Be brief."},
        WITH_SYSTEM,
    ),
    "prompt and completion": (
        ConversationFormat.prompt_completion,
        {"prompt": "Why?", "completion": "Because."},
        QUESTION,
    ),
    "prompt and completion as messages": (
        ConversationFormat.prompt_completion,
        {"prompt": WITH_SYSTEM[:2], "completion": WITH_SYSTEM[2:]},
        WITH_SYSTEM,
    ),
    "nemo": (
        ConversationFormat.nemo,
        {
            "system": "Be brief.",
            "mask": "User",
            "type": "TEXT_TO_VALUE",
            "conversations": NEMO,
        },
        WITH_SYSTEM,
    ),
    "nemo without a system prompt": (
        ConversationFormat.nemo,
        {"system": "", "conversations": NEMO},
        QUESTION,
    ),
    "nemo input and output": (ConversationFormat.nemo, {"input": "Why?", "output": "Because."}, QUESTION),
}


@pytest.mark.parametrize("name", list(GOOD))
def test_every_format_is_recognised_and_read(name: str) -> None:
    format, record, expected = GOOD[name]
    assert recognise(record, SOURCE) is format
    (conversation,) = read_conversations(record, format, SOURCE)
    assert conversation.messages == expected and conversation.tools is None


def test_other_keys_of_prompt_and_completion() -> None:
    record = {"question": "Why?", "answer": "Because."}
    assert recognise(record, SOURCE) is None
    assert recognise(record, GSM8K) is ConversationFormat.prompt_completion
    assert read_conversations(record, ConversationFormat.prompt_completion, GSM8K)[0].messages == QUESTION


def test_the_sources_system_prompt_is_for_those_without_one() -> None:
    source = ConversationSource(input=["x"], name="x", system="Be brief.")
    for messages in (QUESTION, WITH_SYSTEM):
        (conversation,) = read_conversations({"messages": messages}, ConversationFormat.messages, source)
        assert conversation.messages == WITH_SYSTEM


BAD: list[tuple[str, Any, str]] = [
    ("messages", {"messages": [QUESTION[0]]}, "no turn of the assistant"),
    ("prompt_completion", {"prompt": "x"}, "no key 'completion'"),
]


@pytest.mark.parametrize(("format", "record", "reason"), BAD, ids=[reason for _, _, reason in BAD])
def test_bad_records_are_refused_with_the_reason(format: str, record: Any, reason: str) -> None:
    with pytest.raises(InvalidRecordError) as error:
        read_conversations(record, ConversationFormat[format], SOURCE)
    assert str(error.value).startswith(reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"", "empty line"), (b"{", "malformed JSON"), (b'"\xff"', "invalid UTF-8"), (b"[1]", "a JSON array, not an")],
)
def test_lines_that_are_no_records(line: bytes, reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=reason):
        parse_object(line)


def test_which_turns_are_learned() -> None:
    chat = [*WITH_SYSTEM, turn("user", "And?"), {**QUESTION[1], "tool_calls": [CALL]}, turn("tool", "7"), QUESTION[1]]
    assert learned_turns(chat, LossOn.assistant) == [2, 4, 6]
    assert learned_turns(chat, LossOn.last_turn) == [4, 6]
    assert learned_turns([*chat, turn("user", "Thanks")], LossOn.last_turn) == [4, 6]
    assert learned_turns(chat, LossOn.all) is None
    weighted = [*chat[:2], {**chat[2], "weight": 0}, *chat[3:]]
    assert learned_turns(weighted, LossOn.assistant) == [4, 6]


@needs_shared_data
def test_real_files_are_recognised() -> None:
    seeds = (FOLDER / "sft/self_instruct_seed.jsonl").read_text(encoding="utf-8").splitlines()
    found = [read_conversations(json.loads(line), ConversationFormat.self_instruct, SOURCE) for line in seeds]
    assert sum(map(len, found)) == sum(len(json.loads(line)["instances"]) for line in seeds) == 175
    for name in ("alpaca_en_demo", "alpaca_zh_demo", "identity", "gpteacher_roleplay"):
        records = json.loads((FOLDER / f"sft/{name}.json").read_text(encoding="utf-8"))
        assert {recognise(record, SOURCE) for record in records} == {ConversationFormat.alpaca}
        for record in records:
            read_conversations(record, ConversationFormat.alpaca, SOURCE)
