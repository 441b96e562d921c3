"""Messages are checked and brought to one form, whatever format they come from; every fault has its reason."""

from typing import Any

import pytest

from megatron_redone.curation.conversations.conversation import (
    ROLES,
    Conversation,
    content_key,
    read_messages,
    read_tools,
    read_variables,
    required_messages,
)
from megatron_redone.formats.input_records import InvalidRecordError


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def calling(*calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def asked(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def answered(message: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [turn("user", "Why?"), message]}


QUESTION = [turn("user", "Why?"), turn("assistant", "Because.")]

BAD: list[tuple[Any, str]] = [
    ({"messages": "hello"}, "messages are a string, not an array"),
    ({"messages": []}, "no messages"),
    ({"text": "x"}, "no key 'messages'"),
    ({"messages": ["x"]}, "a message is a string, not an object"),
    ({"messages": [{"content": "x"}]}, "a message has no role"),
    ({"messages": [turn("narrator", "x"), *QUESTION]}, "unknown role 'narrator'"),
    ({"messages": [{"role": 7, "content": "x"}]}, "unknown role '7'"),
    ({"messages": [turn("user", " "), QUESTION[1]]}, "an empty turn of the user"),
    ({"messages": [QUESTION[0], turn("assistant", "\n")]}, "an empty turn of the assistant"),
    ({"messages": [QUESTION[0], {"role": "assistant"}]}, "an empty turn of the assistant"),
    (asked(7), "the content of a message is a number, not a string"),
    (asked([{"type": "image_url"}]), "a part of a message is not text"),
    (answered({"role": "assistant", "tool_calls": "f"}), "'tool_calls' are not an array"),
    (answered(calling({})), "a tool call without a name"),
    (answered(calling({"name": "f", "arguments": "{"})), "the arguments of a tool call: malformed JSON"),
    ({"messages": QUESTION, "tools": "f"}, "'tools': malformed JSON"),
    ({"messages": QUESTION, "tools": [7]}, "'tools' are not a list of objects"),
]


def read(record: dict[str, Any]) -> Conversation:
    return Conversation(required_messages(record, "messages"), read_tools(record.get("tools")))


@pytest.mark.parametrize(("record", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_bad_messages_are_refused_with_the_reason(record: Any, reason: str) -> None:
    with pytest.raises(InvalidRecordError) as error:
        read(record)
    assert str(error.value).startswith(reason)


def test_the_key_goes_by_content_and_not_by_the_order_of_keys() -> None:
    one = read({"messages": QUESTION})
    other = read({"messages": [dict(reversed(message.items())) for message in QUESTION]})
    assert content_key(one.text()) == content_key(other.text()) != content_key(one.text() + " ")


def test_what_was_read_is_read_as_itself() -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": '{"x": 1}'}}
    messages = read_messages([QUESTION[0], calling(call), turn("tool", "7"), QUESTION[1]], ROLES)
    assert read_messages(messages, ROLES) == messages
    assert messages[1]["tool_calls"][0]["id"] == "c1"


def test_a_null_in_a_schema_is_part_of_it() -> None:
    schema = {"type": "object", "properties": {"x": {"type": ["number", "null"], "default": None}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert read_tools([tool]) == [tool] == read_tools([tool["function"]])


def test_variables_of_a_record() -> None:
    thinking = {"enable_thinking": False}
    assert read_variables({"messages": QUESTION}) == {} and read_variables(thinking) == thinking
    for value in (thinking, '{"enable_thinking": false}'):
        assert read_variables({"chat_template_kwargs": value, "enable_thinking": True}) == thinking
    for record in ({"enable_thinking": "no"}, {"chat_template_kwargs": [1]}, {"chat_template_kwargs": {"tools": []}}):
        with pytest.raises(InvalidRecordError, match="is not"):
            read_variables(record)
