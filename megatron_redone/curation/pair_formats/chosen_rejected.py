"""Pairs out of records that say which response is the chosen and which the rejected one."""

from typing import Any

from megatron_redone.curation.conversations.conversation import (
    ROLES,
    optional_text,
    read_messages,
    read_tools,
    required_text,
    system_beside,
    with_system,
)
from megatron_redone.curation.conversations.instructions import alpaca_messages, as_messages, with_history
from megatron_redone.curation.conversations.sharegpt import ROLES as SHAREGPT_ROLES
from megatron_redone.curation.conversations.sharegpt import message_from, sharegpt_messages
from megatron_redone.curation.pair_formats.pair import PreferencePair, read_rewards, split_common_prompt
from megatron_redone.curation.pair_formats.transcripts import (
    hh_messages,
    is_nemo_prompt,
    nemo_messages,
    without_nemo_end,
)
from megatron_redone.formats.input_records import InvalidRecordError, Messages

_SIDES = ("chosen", "rejected")


def from_nemo(record: dict[str, Any]) -> PreferencePair:
    """`{"prompt", "chosen_response", "rejected_response", "chosen_reward", "rejected_reward"}`.

    The prompt is a text, a text in NeMo-Aligner's own template, or messages.

    Raises:
        InvalidRecordError: it is something else.
    """
    responses = [required_text(record, key) for key in ("chosen_response", "rejected_response")]
    prompt = record.get("prompt")
    if isinstance(prompt, str) and is_nemo_prompt(prompt):
        prompt = nemo_messages(prompt)
        responses = [without_nemo_end(response) for response in responses]
    chosen, rejected = (as_messages(response, "assistant") for response in responses)
    return _pair(record, with_system(as_messages(prompt, "user"), system_beside(record)), chosen, rejected)


def from_trl(record: dict[str, Any]) -> PreferencePair:
    """`{"prompt", "chosen", "rejected"}`, each a text or messages; without a prompt it is what both begin with.

    Raises:
        InvalidRecordError: it is something else.
    """
    chosen, rejected = (as_messages(_required(record, key), "assistant") for key in _SIDES)
    prompt = record.get("prompt")
    if prompt is None or (isinstance(prompt, str) and chosen[0]["role"] in ("system", "user")):
        messages, chosen, rejected = split_common_prompt(chosen, rejected)
    else:
        messages = as_messages(prompt, "user")
        if chosen[: len(messages)] == messages == rejected[: len(messages)]:
            chosen, rejected = chosen[len(messages) :], rejected[len(messages) :]
    return _pair(record, with_system(messages, system_beside(record)) if messages else messages, chosen, rejected)


def from_sharegpt_pair(record: dict[str, Any]) -> PreferencePair:
    """LLaMA-Factory's `{"conversations": [...], "chosen": {"from", "value"}, "rejected": {...}}`.

    Raises:
        InvalidRecordError: it is something else.
    """
    chosen, rejected = (_sharegpt_response(_required(record, key)) for key in _SIDES)
    return _pair(record, sharegpt_messages(record), chosen, rejected)


def from_alpaca_pair(record: dict[str, Any]) -> PreferencePair:
    """LLaMA-Factory's `{"instruction", "input", "chosen", "rejected"}`.

    Raises:
        InvalidRecordError: it is something else.
    """
    chosen, rejected = (as_messages(_required(record, key), "assistant") for key in _SIDES)
    return _pair(record, alpaca_messages(record), chosen, rejected)


def from_transcripts(record: dict[str, Any]) -> PreferencePair:
    """hh-rlhf's `{"chosen", "rejected"}`, two transcripts that differ in how they end.

    Raises:
        InvalidRecordError: it is something else.
    """
    chosen, rejected = (read_messages(hh_messages(_required(record, key)), ROLES) for key in _SIDES)
    return _pair(record, *split_common_prompt(chosen, rejected))


def from_orca(record: dict[str, Any]) -> PreferencePair:
    """`{"system", "question", "chosen", "rejected"}` of Intel's orca_dpo_pairs; Argilla's calls the question `input`.

    Raises:
        InvalidRecordError: it is something else.
    """
    question = as_messages(required_text(record, "question" if "question" in record else "input"), "user")
    chosen, rejected = (as_messages(required_text(record, key), "assistant") for key in _SIDES)
    return _pair(record, with_system(question, optional_text(record, "system")), chosen, rejected)


def from_openai(record: dict[str, Any]) -> PreferencePair:
    """OpenAI's `{"input": {"messages", "tools"}, "preferred_output": [...], "non_preferred_output": [...]}`.

    Raises:
        InvalidRecordError: it is something else.
    """
    given = record.get("input")
    if not isinstance(given, dict):
        raise InvalidRecordError("'input' is not an object with messages")
    prompt = read_messages(given.get("messages"), ROLES)
    outputs = (_required(record, key) for key in ("preferred_output", "non_preferred_output"))
    chosen, rejected = (as_messages(output, "assistant") for output in outputs)
    return PreferencePair(prompt, chosen, rejected, read_tools(given.get("tools")))


def from_ms_swift(record: dict[str, Any]) -> PreferencePair:
    """ms-swift's conversation with its last answer rejected for another, or with another conversation beside it.

    `{"messages": [...], "rejected_response": ...}` or `{"messages": [...], "rejected_messages": [...]}`, or its older
    `{"query", "response", "history", "system", "rejected_response"}`.

    Raises:
        InvalidRecordError: it is something else.
    """
    if "messages" in record:
        chosen = read_messages(record["messages"], ROLES)
    else:
        question = as_messages(required_text(record, "query"), "user")
        answer = as_messages(required_text(record, "response"), "assistant")
        chosen = [*with_history(question, record.get("history")), *answer]
    if record.get("rejected_messages"):
        prompt, chosen, rejected = split_common_prompt(chosen, read_messages(record["rejected_messages"], ROLES))
    else:
        prompt, chosen = chosen[:-1], chosen[-1:]
        rejected = as_messages(_required(record, "rejected_response"), "assistant")
    return _pair(record, with_system(prompt, system_beside(record)) if prompt else prompt, chosen, rejected)


def _pair(record: dict[str, Any], prompt: Messages, chosen: Messages, rejected: Messages) -> PreferencePair:
    return PreferencePair(prompt, chosen, rejected, read_tools(record.get("tools")), read_rewards(record))


def _required(record: dict[str, Any], key: str) -> Any:
    if key not in record:
        raise InvalidRecordError(f"no key '{key}'")
    return record[key]


def _sharegpt_response(value: Any) -> Messages:
    turns = value if isinstance(value, list) else [value]
    texts = [{"from": "gpt", "value": turn} if isinstance(turn, str) else turn for turn in turns]
    return read_messages([message_from(turn) for turn in texts], SHAREGPT_ROLES)
