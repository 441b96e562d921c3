"""Which format a record has, and the preference pair in it."""

import dataclasses
from typing import Any

from megatron_redone.config.prepare_preferences import PreferenceFormat, PreferenceSource
from megatron_redone.curation.conversations.conversation import read_variables, with_system
from megatron_redone.curation.conversations.turn_marks import check_known, mark_all, without_ignored
from megatron_redone.curation.pair_formats.chosen_rejected import (
    from_alpaca_pair,
    from_ms_swift,
    from_nemo,
    from_openai,
    from_orca,
    from_sharegpt_pair,
    from_transcripts,
    from_trl,
)
from megatron_redone.curation.pair_formats.pair import PreferencePair, checked
from megatron_redone.curation.pair_formats.ranked import from_helpsteer3, from_nemo_rl, from_ultrafeedback
from megatron_redone.curation.pair_formats.transcripts import is_hh_transcript

# Keys that only one format has all of, in the order in which they are looked for.
_KEYS: tuple[tuple[PreferenceFormat, tuple[str, ...]], ...] = (
    (PreferenceFormat.nemo_rl, ("context", "completions")),
    (PreferenceFormat.helpsteer3, ("context", "response1", "response2")),
    (PreferenceFormat.openai, ("input", "preferred_output")),
    (PreferenceFormat.ultrafeedback, ("instruction", "completions")),
    (PreferenceFormat.nemo, ("prompt", "chosen_response")),
    (PreferenceFormat.ms_swift, ("messages", "rejected_response")),
    (PreferenceFormat.ms_swift, ("messages", "rejected_messages")),
    (PreferenceFormat.ms_swift, ("query", "rejected_response")),
)

_READERS = {
    PreferenceFormat.nemo: from_nemo,
    PreferenceFormat.nemo_rl: from_nemo_rl,
    PreferenceFormat.trl: from_trl,
    PreferenceFormat.sharegpt: from_sharegpt_pair,
    PreferenceFormat.alpaca: from_alpaca_pair,
    PreferenceFormat.hh_rlhf: from_transcripts,
    PreferenceFormat.openai: from_openai,
    PreferenceFormat.ms_swift: from_ms_swift,
    PreferenceFormat.orca: from_orca,
    PreferenceFormat.helpsteer3: from_helpsteer3,
    PreferenceFormat.ultrafeedback: from_ultrafeedback,
}


def recognise(record: dict[str, Any], _: PreferenceSource) -> PreferenceFormat | None:
    """The format that a record's keys speak of, or None."""
    found = next((format for format, keys in _KEYS if record.keys() >= set(keys)), None)
    if found is not None:
        return found
    return _chosen_and_rejected(record) if {"chosen", "rejected"} <= record.keys() else None


def read_pair(record: dict[str, Any], format: PreferenceFormat, source: PreferenceSource) -> PreferencePair:
    """The pair of a record.

    Raises:
        InvalidRecordError: it is not of that format, or nothing can be learned from it.
    """
    record = without_ignored(record, source.ignored_marks)
    pair = _READERS[format](record)
    check_known([*pair.prompt, *pair.chosen, *pair.rejected])
    has_system = bool(pair.prompt) and pair.prompt[0]["role"] == "system"
    return checked(
        dataclasses.replace(
            pair,
            prompt=with_system(pair.prompt, "" if has_system else source.system or ""),
            chosen=mark_all(record, pair.chosen),
            rejected=mark_all(record, pair.rejected),
            variables=read_variables(record),
        )
    )


def _chosen_and_rejected(record: dict[str, Any]) -> PreferenceFormat | None:
    formats, is_text = PreferenceFormat, isinstance(record["chosen"], str)
    if "conversations" in record:
        return formats.sharegpt
    if "instruction" in record:
        return formats.alpaca
    if "prompt" in record or not is_text:
        return formats.trl
    if "question" in record or "input" in record:
        return formats.orca
    return formats.hh_rlhf if is_hh_transcript(record["chosen"]) else None
