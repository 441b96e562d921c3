"""One question and its answer: Alpaca, self-instruct, and prompt with completion."""

import itertools
from typing import Any

from megatron_redone.curation.conversations.conversation import (
    ROLES,
    Conversation,
    optional_text,
    read_messages,
    read_tools,
    required_text,
    with_system,
)
from megatron_redone.formats.input_records import InvalidRecordError


def from_alpaca(record: dict[str, Any]) -> list[Conversation]:
    """`{"instruction", "input", "output", "system", "history": [[question, answer], ...]}`.

    Instruction and input are joined by a line break, as LLaMA-Factory does.

    Raises:
        InvalidRecordError: it is something else.
    """
    answer = as_messages(required_text(record, "output"), "assistant")
    return [Conversation([*alpaca_messages(record), *answer])]


def alpaca_messages(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What stands before the answer of an Alpaca record: system prompt, history, instruction and input.

    Raises:
        InvalidRecordError: there is no instruction, or a wrong type.
    """
    parts = (required_text(record, "instruction"), optional_text(record, "input"))
    question = {"role": "user", "content": "\n".join(part for part in parts if part)}
    return with_system(with_history([question], record.get("history")), optional_text(record, "system"))


def with_history(messages: list[dict[str, Any]], history: Any) -> list[dict[str, Any]]:
    """Messages behind a history of `[[question, answer], ...]`.

    Raises:
        InvalidRecordError: the history is something else.
    """
    earlier = zip(itertools.cycle(("user", "assistant")), itertools.chain.from_iterable(_history(history)))
    return read_messages([*({"role": role, "content": text} for role, text in earlier), *messages], ROLES)


def from_self_instruct(record: dict[str, Any]) -> list[Conversation]:
    """`{"instruction", "instances": [{"input", "output"}, ...]}`: one conversation an instance.

    Raises:
        InvalidRecordError: it is something else.
    """
    instances = record.get("instances")
    if not isinstance(instances, list) or not instances or not all(isinstance(one, dict) for one in instances):
        raise InvalidRecordError("'instances' are not a list of objects")
    return [made for one in instances for made in from_alpaca({**one, "instruction": record.get("instruction")})]


def from_prompt_completion(record: dict[str, Any], prompt_key: str, completion_key: str) -> list[Conversation]:
    """A prompt and a completion under any keys, each a text or a list of messages.

    Raises:
        InvalidRecordError: it is something else.
    """
    for name in (prompt_key, completion_key):
        if name not in record:
            raise InvalidRecordError(f"no key '{name}'")
    prompt = as_messages(record[prompt_key], "user")
    completion = as_messages(record[completion_key], "assistant")
    messages = with_system([*prompt, *completion], optional_text(record, "system"))
    return [Conversation(messages, read_tools(record.get("tools")))]


def as_messages(value: Any, role: str) -> list[dict[str, Any]]:
    """Messages as they are; a text as the one message of a role.

    Raises:
        InvalidRecordError: it is neither, or empty.
    """
    return read_messages([{"role": role, "content": value}] if isinstance(value, str) else value, ROLES)


def _history(value: Any) -> list[list[Any]]:
    if not value:
        return []
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise InvalidRecordError("'history' is not a list of pairs")
    return value
