"""ShareGPT's turns and NeMo-Aligner's become OpenAI's messages."""

import json
from typing import Any

import pytest

from megatron_redone.config.prepare_sft import ConversationFormat, ConversationSource
from megatron_redone.curation.conversations.records import read_conversations
from megatron_redone.curation.conversations.sharegpt import from_nemo, from_sharegpt
from megatron_redone.formats.input_records import InvalidRecordError

SOURCE = ConversationSource(input=["x.jsonl"], name="x")
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def test_tool_calls_of_openai_and_llama_factory_mean_the_same() -> None:
    openai = {
        "messages": [
            {"role": "user", "content": "Why?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
            },
            {"role": "tool", "content": "7"},
            {"role": "assistant", "content": "7."},
        ],
        "tools": [TOOL],
    }
    llama_factory = {
        "conversations": [
            {"from": "human", "value": "Why?"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
            {"from": "observation", "value": "7"},
            {"from": "gpt", "value": "7."},
        ],
        "tools": json.dumps([TOOL["function"]]),
    }
    (one,) = read_conversations(openai, ConversationFormat.messages, SOURCE)
    (other,) = from_sharegpt(llama_factory)
    assert one.messages[1]["tool_calls"] == other.messages[1]["tool_calls"] == [CALL]
    assert one.tools == other.tools == [TOOL]
    assert [m["role"] for m in one.messages] == [m["role"] for m in other.messages]


def test_a_turn_that_is_not_to_be_trained_stays_so() -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello", "weight": 0}]
    (conversation,) = from_sharegpt({"conversations": turns})
    assert conversation.messages[1] == {"role": "assistant", "content": "Hello", "weight": 0}


def test_what_a_turn_says_beside_its_text_is_read() -> None:
    call = {"function": {"name": "f", "arguments": '{"x": 1}'}}
    turn = {"from": "gpt", "value": "Hello", "tool_calls": [call], "reasoning_content": "Hm.", "id": 7}
    (conversation,) = from_sharegpt({"conversations": [{"from": "human", "value": "Hi"}, turn]})
    assert conversation.messages[1] == {
        **{"role": "assistant", "content": "Hello", "tool_calls": [CALL], "reasoning_content": "Hm."},
    }


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"conversations": [{"value": "x"}]}, "a message has no 'from'"),
        ({"conversations": [{"from": "cat", "value": "x"}]}, "unknown role 'cat'"),
        ({"conversations": [{"from": "function_call", "value": "f(1)"}]}, "a function call: malformed JSON"),
        (
            {"conversations": [{"from": "system", "value": "x"}, {"from": "gpt", "value": "y"}], "system": "z"},
            "two system prompts",
        ),
    ],
)
def test_bad_sharegpt_is_refused_with_the_reason(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=f"^{reason}"):
        from_sharegpt(record)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"mask": "Assistant", "conversations": []}, "'mask' names another role than the user's"),
        ({"input": "x", "output": None}, "'output' is empty"),
    ],
)
def test_bad_nemo_records_are_refused_with_the_reason(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=f"^{reason}"):
        from_nemo(record)
