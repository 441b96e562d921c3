"""Which format a record has, and the preference pair in it."""

from typing import Any

from megatron_redone.config.prepare_preferences import PreferenceFormat, PreferenceSource
from megatron_redone.curation.conversations.conversation import (
    ROLES,
    read_messages,
    read_tools,
    required_text,
    with_system,
)
from megatron_redone.curation.conversations.instructions import alpaca_messages, as_messages
from megatron_redone.curation.conversations.sharegpt import ROLES as SHAREGPT_ROLES
from megatron_redone.curation.conversations.sharegpt import message_from, sharegpt_messages
from megatron_redone.curation.pair_formats.pair import (
    Messages,
    PreferencePair,
    checked,
    read_rewards,
    split_common_prompt,
)
from megatron_redone.curation.pair_formats.transcripts import (
    hh_messages,
    is_hh_transcript,
    is_nemo_prompt,
    nemo_messages,
    without_nemo_end,
)
from megatron_redone.formats.input_records import InvalidRecordError


def recognise(record: dict[str, Any], _: PreferenceSource) -> PreferenceFormat | None:
    """The format that a record's keys speak of, or None."""
    formats = PreferenceFormat
    if "chosen_response" in record and "prompt" in record:
        return formats.nemo
    if "chosen" not in record or "rejected" not in record:
        return None
    if "conversations" in record:
        return formats.sharegpt
    if "instruction" in record:
        return formats.alpaca
    if "prompt" not in record and isinstance(record["chosen"], str):
        return formats.hh_rlhf if is_hh_transcript(record["chosen"]) else None
    return formats.trl


def read_pair(record: dict[str, Any], format: PreferenceFormat, source: PreferenceSource) -> PreferencePair:
    """The pair of a record.

    Raises:
        InvalidRecordError: it is not of that format, or nothing can be learned from it.
    """
    prompt, chosen, rejected = _READERS[format](record)
    has_system = bool(prompt) and prompt[0]["role"] == "system"
    prompt = with_system(prompt, "" if has_system else source.system or "")
    rewards = read_rewards(record)
    return checked(PreferencePair(prompt, chosen, rejected, read_tools(record.get("tools")), rewards))


def _from_nemo(record: dict[str, Any]) -> tuple[Messages, Messages, Messages]:
    """`{"prompt", "chosen_response", "rejected_response", "chosen_reward", "rejected_reward"}`.

    The prompt is a text, a text in NeMo-Aligner's own template, or messages.
    """
    responses = [required_text(record, key) for key in ("chosen_response", "rejected_response")]
    prompt = record.get("prompt")
    if isinstance(prompt, str) and is_nemo_prompt(prompt):
        prompt = nemo_messages(prompt)
        responses = [without_nemo_end(response) for response in responses]
    chosen, rejected = (as_messages(response, "assistant") for response in responses)
    return as_messages(prompt, "user"), chosen, rejected


def _from_trl(record: dict[str, Any]) -> tuple[Messages, Messages, Messages]:
    """`{"prompt", "chosen", "rejected"}`, each a text or messages; without a prompt it is what both begin with."""
    chosen, rejected = (as_messages(_required(record, key), "assistant") for key in ("chosen", "rejected"))
    prompt = record.get("prompt")
    if prompt is None or (isinstance(prompt, str) and chosen[0]["role"] in ("system", "user")):
        return split_common_prompt(chosen, rejected)
    messages = as_messages(prompt, "user")
    if chosen[: len(messages)] == messages == rejected[: len(messages)]:
        return messages, chosen[len(messages) :], rejected[len(messages) :]
    return messages, chosen, rejected


def _from_sharegpt(record: dict[str, Any]) -> tuple[Messages, Messages, Messages]:
    """LLaMA-Factory's `{"conversations": [...], "chosen": {"from", "value"}, "rejected": {...}}`."""
    chosen, rejected = (_sharegpt_response(_required(record, key)) for key in ("chosen", "rejected"))
    return sharegpt_messages(record), chosen, rejected


def _from_alpaca(record: dict[str, Any]) -> tuple[Messages, Messages, Messages]:
    """LLaMA-Factory's `{"instruction", "input", "chosen", "rejected"}`."""
    chosen, rejected = (as_messages(_required(record, key), "assistant") for key in ("chosen", "rejected"))
    return alpaca_messages(record), chosen, rejected


def _from_transcripts(record: dict[str, Any]) -> tuple[Messages, Messages, Messages]:
    """hh-rlhf's `{"chosen", "rejected"}`, two transcripts that differ in how they end."""
    chosen, rejected = (read_messages(hh_messages(_required(record, key)), ROLES) for key in ("chosen", "rejected"))
    return split_common_prompt(chosen, rejected)


_READERS = {
    PreferenceFormat.nemo: _from_nemo,
    PreferenceFormat.trl: _from_trl,
    PreferenceFormat.sharegpt: _from_sharegpt,
    PreferenceFormat.alpaca: _from_alpaca,
    PreferenceFormat.hh_rlhf: _from_transcripts,
}


def _required(record: dict[str, Any], key: str) -> Any:
    if key not in record:
        raise InvalidRecordError(f"no key '{key}'")
    return record[key]


def _sharegpt_response(value: Any) -> Messages:
    turns = value if isinstance(value, list) else [value]
    texts = [{"from": "gpt", "value": turn} if isinstance(turn, str) else turn for turn in turns]
    return read_messages([message_from(turn) for turn in texts], SHAREGPT_ROLES)
