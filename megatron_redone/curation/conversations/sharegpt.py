"""ShareGPT's `conversations` of `from` and `value`, and NeMo-Aligner's, which look much alike."""

from typing import Any

from megatron_redone.curation.conversations.answer_parts import parts_beside_text
from megatron_redone.curation.conversations.conversation import (
    Conversation,
    optional_text,
    parse_text,
    read_messages,
    read_tools,
    required_text,
    tool_call,
    with_system,
)
from megatron_redone.curation.conversations.turn_marks import marks_of
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.json_values import json_type

# Names seen in published sets; `function_call`, `observation` are LLaMA-Factory's.
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}

# NeMo-Aligner's names (docs/user-guide/sft.rst, `SFTChatDataset`).
NEMO_ROLES = {"User": "user", "Assistant": "assistant", "System": "system"}


def from_sharegpt(record: dict[str, Any]) -> list[Conversation]:
    """`{"conversations": [{"from", "value"}], "system", "tools"}`.

    Raises:
        InvalidRecordError: it is something else.
    """
    return [Conversation(sharegpt_messages(record), read_tools(record.get("tools")))]


def sharegpt_messages(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of `conversations`, behind the system prompt of `system`.

    Raises:
        InvalidRecordError: it is something else.
    """
    if "conversations" not in record:
        raise InvalidRecordError("no key 'conversations'")
    messages = read_messages(_as_messages(record["conversations"]), ROLES)
    return with_system(messages, optional_text(record, "system"))


def from_nemo(record: dict[str, Any]) -> list[Conversation]:
    """NeMo-Aligner's `{"system", "mask": "User", "conversations": [...]}`, or `{"input", "output"}`.

    Raises:
        InvalidRecordError: it is something else, or learns other turns than the assistant's.
    """
    if "conversations" not in record:
        pair = {"user": required_text(record, "input"), "assistant": required_text(record, "output")}
        return [Conversation([{"role": role, "content": text} for role, text in pair.items()])]
    mask = record.get("mask", "User")
    if NEMO_ROLES.get(mask if isinstance(mask, str) else "") != "user":
        raise InvalidRecordError("'mask' names another role than the user's; only the assistant's turns are learned")
    messages = read_messages(_as_messages(record["conversations"]), NEMO_ROLES)
    return [Conversation(with_system(messages, optional_text(record, "system")))]


def message_from(turn: Any) -> dict[str, Any]:
    """One `{"from", "value"}` as `{"role", "content"}`, its role not yet checked.

    Raises:
        InvalidRecordError: it is something else.
    """
    if not isinstance(turn, dict):
        raise InvalidRecordError(f"a message is a {json_type(turn)}, not an object")
    if "from" not in turn:
        raise InvalidRecordError("a message has no 'from'")
    extra = {**marks_of(turn), **parts_beside_text(turn)}
    if turn["from"] == "function_call":
        return {**extra, "role": "function_call", "content": None, "tool_calls": _calls(turn.get("value"))}
    return {"role": turn["from"], "content": turn.get("value"), **extra}


def _as_messages(turns: Any) -> Any:
    return [message_from(turn) for turn in turns] if isinstance(turns, list) else turns


def _calls(value: Any) -> list[dict[str, Any]]:
    calls = parse_text(value, "a function call") if isinstance(value, str) else value
    return [tool_call(call) for call in (calls if isinstance(calls, list) else [calls])]
