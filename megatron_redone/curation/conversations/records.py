"""Which format a record has, and the conversations in it."""

from typing import Any

from megatron_redone.config.prepare_sft import ConversationFormat, ConversationSource, LossOn
from megatron_redone.curation.conversations.conversation import (
    Conversation,
    read_tools,
    required_messages,
)
from megatron_redone.curation.conversations.instructions import (
    from_alpaca,
    from_prompt_completion,
    from_self_instruct,
)
from megatron_redone.curation.conversations.sharegpt import NEMO_ROLES, from_nemo, from_sharegpt
from megatron_redone.formats.input_records import InvalidRecordError


def recognise(record: dict[str, Any], source: ConversationSource) -> ConversationFormat | None:
    """The format that a record's keys speak of, or None.

    Args:
        record: It.
        source: For the keys of prompt and completion.
    """
    formats = ConversationFormat
    if "messages" in record:
        return formats.messages
    if "conversations" in record:
        return formats.nemo if _is_nemo(record) else formats.sharegpt
    if "instruction" in record and ("instances" in record or "output" in record):
        return formats.self_instruct if "instances" in record else formats.alpaca
    if source.prompt_key in record and source.completion_key in record:
        return formats.prompt_completion
    return formats.nemo if "input" in record and "output" in record else None


def read_conversations(
    record: dict[str, Any], format: ConversationFormat, source: ConversationSource
) -> list[Conversation]:
    """The conversations of a record: one, or one for every instance of a self-instruct task.

    Raises:
        InvalidRecordError: it is not of that format, or has no answer to learn from.
    """
    conversations = _read(record, format, source)
    for conversation in conversations:
        if not any(message["role"] == "assistant" for message in conversation.messages):
            raise InvalidRecordError("no turn of the assistant")
    return [_with_default_system(conversation, source.system) for conversation in conversations]


def learned_turns(messages: list[dict[str, Any]], loss_on: LossOn) -> list[int] | None:
    """The messages to be learned, all of the assistant; None for everything.

    `last_turn` are the assistant's messages since the last question that has an answer. Messages with
    OpenAI's `weight: 0` are left out.
    """
    if loss_on is LossOn.all:
        return None
    turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if loss_on is LossOn.last_turn:
        questions = [n for n, message in enumerate(messages[: turns[-1]]) if message["role"] == "user"]
        turns = [number for number in turns if number > max(questions, default=-1)]
    return [number for number in turns if messages[number].get("weight") != 0]


def _read(record: dict[str, Any], format: ConversationFormat, source: ConversationSource) -> list[Conversation]:
    match format:
        case ConversationFormat.messages:
            return [Conversation(required_messages(record, "messages"), read_tools(record.get("tools")))]
        case ConversationFormat.sharegpt:
            return from_sharegpt(record)
        case ConversationFormat.alpaca:
            return from_alpaca(record)
        case ConversationFormat.self_instruct:
            return from_self_instruct(record)
        case ConversationFormat.nemo:
            return from_nemo(record)
        case ConversationFormat.prompt_completion:
            return from_prompt_completion(record, source.prompt_key, source.completion_key)
    raise AssertionError(f"{format} stands for no format")


def _with_default_system(conversation: Conversation, system: str | None) -> Conversation:
    if system is None or conversation.messages[0]["role"] == "system":
        return conversation
    return Conversation([{"role": "system", "content": system}, *conversation.messages], conversation.tools)


def _is_nemo(record: dict[str, Any]) -> bool:
    turns = record["conversations"]
    first = turns[0] if isinstance(turns, list) and turns else None
    speaker = first.get("from") if isinstance(first, dict) else None
    return "mask" in record or speaker in NEMO_ROLES
