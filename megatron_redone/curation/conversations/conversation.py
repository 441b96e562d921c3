"""A conversation as chat templates take it, and the checks that every format shares."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from megatron_redone.curation.conversations.answer_parts import check_reasoning
from megatron_redone.curation.conversations.turn_marks import take_marks
from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.formats.json_values import json_type, parse_value, to_json

ROLES = {role: role for role in ("system", "developer", "user", "assistant", "tool")}

_VARIABLES, _THINKING = "chat_template_kwargs", "enable_thinking"

_EXCERPT = 30  # characters of a role quoted in a reason


@dataclass(frozen=True)
class Conversation:
    """Messages in OpenAI's form.

    Attributes:
        messages: Each with `role` and `content`; assistant's may have `tool_calls`, a reasoning, and marks: see
            `turn_marks`.
        tools: JSON schemas of the functions that the assistant may call, or None.
        variables: What the template can read besides, of this conversation alone.
    """

    messages: list[dict[str, Any]]
    tools: list[Any] | None = None
    variables: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """The whole of it as JSON, the same for the same content."""
        return to_json([self.messages, self.tools], sort_keys=True).decode()


def content_key(text: str) -> int:
    """A 64-bit number that goes by a text alone: what is held out does not depend on order or tokenizer."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def read_messages(value: Any, roles: Mapping[str, str]) -> list[dict[str, Any]]:
    """Checks messages and brings them to one form.

    Args:
        value: What a record holds where messages should be.
        roles: The names of roles in that format, and what they are called here.

    Raises:
        InvalidRecordError: a wrong type, an unknown role, or a turn without content.
    """
    if not isinstance(value, list):
        raise InvalidRecordError(f"messages are a {json_type(value)}, not an array")
    if not value:
        raise InvalidRecordError("no messages")
    return [_read_message(message, roles) for message in value]


def required_messages(record: Mapping[str, Any], key: str, roles: Mapping[str, str] = ROLES) -> list[dict[str, Any]]:
    """The messages under a key of a record; see `read_messages`."""
    if key not in record:
        raise InvalidRecordError(f"no key '{key}'")
    return read_messages(record[key], roles)


def read_tools(value: Any) -> list[Any] | None:
    """The tools of a record: a list, or that list as a JSON text; None where it has none.

    Raises:
        InvalidRecordError: something else.
    """
    if isinstance(value, str):
        value = parse_text(value, "'tools'") if value.strip() else None
    if not value:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise InvalidRecordError("'tools' are not a list of objects")
    return [tool if "function" in tool else _as_function(tool) for tool in value]


def read_variables(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record hands to its template: TRL's `chat_template_kwargs`, and verl's `enable_thinking`.

    Raises:
        InvalidRecordError: something else.
    """
    variables = record.get(_VARIABLES)
    if isinstance(variables, str):
        variables = parse_text(variables, f"'{_VARIABLES}'") if variables.strip() else None
    if not isinstance(variables or {}, dict) or {"messages", "tools"} & (variables or {}).keys():
        raise InvalidRecordError(f"'{_VARIABLES}' is not an object of variables")
    thinking = record.get(_THINKING)
    if thinking is not None and not isinstance(thinking, bool):
        raise InvalidRecordError(f"'{_THINKING}' is not true or false")
    return {**({} if thinking is None else {_THINKING: thinking}), **(variables or {})}


def required_text(record: Mapping[str, Any], key: str) -> str:
    """A string of a record.

    Raises:
        InvalidRecordError: it is missing, of another type, or blank.
    """
    text = optional_text(record, key)
    if not text.strip():
        raise InvalidRecordError(f"'{key}' is empty" if key in record else f"no key '{key}'")
    return text


def optional_text(record: Mapping[str, Any], key: str) -> str:
    """A string of a record, empty where it is missing or null.

    Raises:
        InvalidRecordError: it is of another type.
    """
    text = record.get(key)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise InvalidRecordError(f"'{key}' is a {json_type(text)}, not a string")
    return text


def system_beside(record: Mapping[str, Any]) -> str:
    """The system prompt that stands beside the messages of a record; the key may hold something else too."""
    system = record.get("system")
    return system if isinstance(system, str) else ""


def with_system(messages: list[dict[str, Any]], system: str) -> list[dict[str, Any]]:
    """Messages behind a record's system prompt, where it has one.

    Raises:
        InvalidRecordError: the messages have one too.
    """
    if not messages or not system.strip():
        return messages
    if messages[0]["role"] == "system":
        if messages[0]["content"].strip() == system.strip():
            return messages
        raise InvalidRecordError("two system prompts")
    return [{"role": "system", "content": system}, *messages]


def tool_call(value: Any) -> dict[str, Any]:
    """A call in OpenAI's form, its arguments an object; templates would write a string of JSON as a string.

    Raises:
        InvalidRecordError: it is none.
    """
    call = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise InvalidRecordError("a tool call without a name")
    arguments = call.get("arguments", call.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = parse_text(arguments, "the arguments of a tool call") if arguments.strip() else {}
    outer = {name: value[name] for name in ("id", "type") if value.get(name) is not None}
    return {"type": "function", **outer, "function": {"name": call["name"], "arguments": arguments}}


def parse_text(text: str, what: str) -> Any:
    """The value of JSON that stands in a text of a record.

    Raises:
        InvalidRecordError: it is none; `what` says of what.
    """
    try:
        return parse_value(text.encode())
    except InvalidRecordError as reason:
        raise InvalidRecordError(f"{what}: {reason}") from None


def _read_message(message: Any, roles: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise InvalidRecordError(f"a message is a {json_type(message)}, not an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in roles:
        raise InvalidRecordError(
            f"unknown role {str(role)[:_EXCERPT]!r}" if "role" in message else "a message has no role"
        )
    read = {name: value for name, value in message.items() if value is not None}
    marks = take_marks(read)
    read["role"] = roles[role]
    read["content"] = _text_content(message.get("content"))
    check_reasoning(read)
    old_call = read.pop("function_call", None)  # OpenAI's before there were tools
    if calls := read.pop("tool_calls", None) or (old_call and [old_call]):
        if not isinstance(calls, list):
            raise InvalidRecordError("'tool_calls' are not an array")
        read["tool_calls"] = [tool_call(call) for call in calls]
    if not read["content"].strip() and read["role"] in ("user", "assistant") and "tool_calls" not in read:
        raise InvalidRecordError(f"an empty turn of the {read['role']}")
    return {**read, **marks}


def _text_content(content: Any) -> str:
    """Text, or parts that all are text, one after the other."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRecordError(f"the content of a message is a {json_type(content)}, not a string")
    return "".join(_text_part(part) for part in content)


def _text_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else None
    if not isinstance(text, str):
        raise InvalidRecordError("a part of a message is not text")
    return text


def _as_function(tool: dict[str, Any]) -> dict[str, Any]:
    if "name" not in tool:
        raise InvalidRecordError("a tool without a name")
    return {"type": "function", "function": tool}
