"""Which format a record has, and the conversations in it."""

from typing import Any

from megatron_redone.config.prepare_sft import ConversationFormat, ConversationSource, LossOn
from megatron_redone.curation.conversations.conversation import (
    Conversation,
    read_tools,
    read_variables,
    required_messages,
    system_beside,
    with_system,
)
from megatron_redone.curation.conversations.instructions import (
    from_alpaca,
    from_prompt_completion,
    from_self_instruct,
)
from megatron_redone.curation.conversations.sharegpt import NEMO_ROLES, from_nemo, from_sharegpt
from megatron_redone.curation.conversations.turn_marks import (
    DETAIL,
    WEIGHT,
    check_known,
    last_answers,
    mark_all,
    turn_weight,
    without_ignored,
)
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
    record = without_ignored(record, source.ignored_marks)
    return [_checked(conversation, record, source) for conversation in _read(record, format, source)]


def learned_turns(messages: list[dict[str, Any]], loss_on: LossOn) -> list[int] | None:
    """The messages to be learned, all of the assistant; None for the whole text.

    `last_turn` are the assistant's messages since the last question that has an answer. Messages whose marks say so
    are left out.

    Raises:
        InvalidRecordError: a mark on a turn of somebody else cannot be obeyed.
    """
    for message in messages:
        _check_mark_can_be_obeyed(message, loss_on)
    if loss_on is LossOn.all:
        return None
    first = last_answers(messages) if loss_on is LossOn.last_turn else 0
    return [
        number
        for number, message in enumerate(messages)
        if message["role"] == "assistant" and number >= first and turn_weight(message)
    ]


def _check_mark_can_be_obeyed(message: dict[str, Any], loss_on: LossOn) -> None:
    if message["role"] == "assistant" or not {WEIGHT, DETAIL} & message.keys():
        return
    is_learned = turn_weight(message) > 0
    if loss_on is LossOn.all and (turn_weight(message) != 1 or DETAIL in message):
        raise InvalidRecordError(f"a turn of the {message['role']} is marked; loss_on=all learns all of it")
    if loss_on is not LossOn.all and is_learned:
        raise InvalidRecordError(f"a turn of the {message['role']} is marked to be learned; only the assistant's are")


def _read(record: dict[str, Any], format: ConversationFormat, source: ConversationSource) -> list[Conversation]:
    match format:
        case ConversationFormat.messages:
            messages = with_system(required_messages(record, "messages"), system_beside(record))
            return [Conversation(messages, read_tools(record.get("tools")))]
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


def _checked(conversation: Conversation, record: dict[str, Any], source: ConversationSource) -> Conversation:
    """A conversation with the marks and variables of its record, and a system prompt."""
    if not any(message["role"] == "assistant" for message in conversation.messages):
        raise InvalidRecordError("no turn of the assistant")
    check_known(conversation.messages)
    messages = mark_all(record, conversation.messages)
    if messages[0]["role"] != "system":
        messages = with_system(messages, source.system or "")
    return Conversation(messages, conversation.tools, read_variables(record))


def _is_nemo(record: dict[str, Any]) -> bool:
    turns = record["conversations"]
    first = turns[0] if isinstance(turns, list) and turns else None
    speaker = first.get("from") if isinstance(first, dict) else None
    return "mask" in record or speaker in NEMO_ROLES
