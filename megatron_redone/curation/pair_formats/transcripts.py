"""Conversations written as one text with markers for who speaks."""

import re
from typing import Any

from megatron_redone.formats.input_records import InvalidRecordError

# Anthropic's hh-rlhf: "\n\nHuman: ...\n\nAssistant: ...".
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}

# NeMo-Aligner's prompts: "<extra_id_0>System\n...\n<extra_id_1>User\n...\n<extra_id_1>Assistant\n".
_NEMO_TURN = re.compile(r"<extra_id_[01]>(System|User|Assistant)\n")
_NEMO_ROLES = {"System": "system", "User": "user", "Assistant": "assistant"}
_NEMO_END = "<extra_id_1>"


def is_hh_transcript(text: Any) -> bool:
    """Whether a value is a transcript as in hh-rlhf."""
    return isinstance(text, str) and _HH_TURN.match(text) is not None


def hh_messages(text: Any) -> list[dict[str, Any]]:
    """The turns of a transcript as in hh-rlhf, their roles and texts not yet checked.

    Raises:
        InvalidRecordError: it is none.
    """
    if not is_hh_transcript(text):
        raise InvalidRecordError("not a transcript that begins with 'Human:' or 'Assistant:'")
    return _turns(_HH_TURN.split(text)[1:], _HH_ROLES)


def is_nemo_prompt(text: str) -> bool:
    """Whether a prompt is written in NeMo-Aligner's own chat template."""
    return _NEMO_TURN.match(text) is not None


def nemo_messages(text: str) -> list[dict[str, Any]]:
    """The turns of a prompt in NeMo-Aligner's template; it ends where the assistant is to answer."""
    turns = _turns(_NEMO_TURN.split(text)[1:], _NEMO_ROLES)
    if turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
        del turns[-1]
    return [turn for turn in turns if turn["role"] != "system" or turn["content"]]


def without_nemo_end(response: str) -> str:
    """A response without the mark that ends it in NeMo-Aligner's template."""
    return response.rstrip().removesuffix(_NEMO_END).rstrip()


def _turns(parts: list[str], roles: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"role": roles[speaker], "content": text.strip()} for speaker, text in zip(parts[::2], parts[1::2], strict=True)
    ]
