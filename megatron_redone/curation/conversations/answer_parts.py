"""The parts of an assistant's turn, and which of them a template has left out.

Templates drop what they have no place for without a word: Qwen3's the reasoning of earlier answers, Llama 3.1's the
text beside a call, most of them a `reasoning_content`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from megatron_redone.formats.input_records import InvalidRecordError
from megatron_redone.tokenization.chat_template import TemplateRefusal
from megatron_redone.tokenization.written_forms import written_forms

REASONING, TEXT, CALL = "reasoning", "text", "call"

# DeepSeek, Qwen and vLLM write `reasoning_content`, OpenRouter `reasoning`, gpt-oss `thinking`; the others are seen
# in published sets.
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "thinking_content", "thought", "thoughts")
_TEXT_KEYS = ("refusal",)  # OpenAI's
_CALL_KEYS = ("tool_calls", "function_call")

# What begins and ends a thought within the content: <think>, Magistral's [THINK], OpenThoughts', Kimi's, Seed's.
_THOUGHT_TAG = re.compile(
    r"(<(?P<slash>/?)(?:think|thinking|thought|thoughts|reasoning|scratchpad|seed:think)>"
    r"|\[(?P<bar>/?)THINK\]|<\|(?P<word>begin|end)_of_thought\|>|◁(?P<dash>/?)think▷)"
)

# From a private-use area of Unicode, as the mark of `turn_spans`.
_MARK = "\ue000\ue0b3\ue001"
_TAKEN = "\ue002"  # in the place of what was found
# A text as short as this may stand in what the template itself writes.
_SHORT = 40


@dataclass(frozen=True)
class AnswerPart:
    """A part of a turn.

    Attributes:
        kind: REASONING, TEXT or CALL.
        text: What the ids must hold of it; of a call its name.
        values: Of a call: what its arguments hold, each in the forms in which it may be written.
        marked: The message with a mark in the text's place; of a call the message as it is.
    """

    kind: str
    text: str
    values: tuple[tuple[str, ...], ...]
    marked: Mapping[str, Any]


def reasoning_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a message that hold its reasoning."""
    return {name: message[name] for name in _REASONING_KEYS if message.get(name) is not None}


def parts_beside_text(turn: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a turn that hold a part of an answer beside its text."""
    return {name: turn[name] for name in (*_REASONING_KEYS, *_TEXT_KEYS, *_CALL_KEYS) if turn.get(name) is not None}


def check_reasoning(message: Mapping[str, Any]) -> None:
    """Refuses reasoning that no template reads.

    Raises:
        InvalidRecordError: it is not a text.
    """
    for name, value in reasoning_of(message).items():
        if not isinstance(value, str):
            raise InvalidRecordError(f"'{name}' is not a string")


def answer_parts(message: Mapping[str, Any]) -> list[AnswerPart]:
    """Everything that an assistant's turn says, in the order in which templates write it."""
    return [*_reasonings(message), *_texts(message), *_calls(message)]


def lost_parts(message: Mapping[str, Any], written: str, render: Callable[[Mapping[str, Any]], str]) -> list[str]:
    """The kinds of the parts of a turn that its rendered text does not hold.

    Args:
        message: The turn.
        written: The rendered text of this turn that is learned.
        render: The text of the conversation with another message in its place; it may raise a TemplateRefusal.
    """
    if _is_plain(message) and message["content"].strip() in written:
        return []
    parts = _content_as_one(message, written)
    lost = []
    # The longest first: a short one may be a piece of it.
    for part in sorted(parts, key=lambda part: -len(part.text)):
        start = _find(part, written)
        if start is None or not (len(parts) == 1 or len(part.text) > _SHORT or _is_rendered(part, render)):
            lost.append(part.kind)
        else:
            end = start + len(part.text)
            written = written[:start] + _TAKEN * len(part.text) + written[end:]
    return lost


def lost_from_context(message: Mapping[str, Any], text: str) -> list[str]:
    """The kinds of the parts of a turn that a whole text does not hold.

    The reasoning of an answer that is not learned does not count: what stands before a question is not seen by models
    whose template leaves it out.
    """
    parts = (part for part in answer_parts(message) if part.kind != REASONING)
    return [part.kind for part in parts if _find(part, text) is None]


def _is_plain(message: Mapping[str, Any]) -> bool:
    """Whether a turn has nothing but its content."""
    return message.keys() <= {"role", "content"}


def _content_as_one(message: Mapping[str, Any], written: str) -> list[AnswerPart]:
    """The parts of a turn, its content not divided where it stands in the text as it is."""
    content = message.get("content") or ""
    if content.strip() not in written or not _THOUGHT_TAG.search(content):
        return answer_parts(message)
    whole = AnswerPart(TEXT, content.strip(), (), {**message, "content": _MARK})
    others = {name: value for name, value in message.items() if name != "content"}
    return [*_reasonings(message), whole, *_texts(others), *_calls(message)]


def _reasonings(message: Mapping[str, Any]) -> Iterator[AnswerPart]:
    seen = set[str]()  # some records say it twice
    for name, value in reasoning_of(message).items():
        if isinstance(value, str) and value.strip() and value.strip() not in seen:
            seen.add(value.strip())
            # transformers gives one reasoning to the template under several names.
            rest = {key: item for key, item in message.items() if key not in _REASONING_KEYS}
            yield AnswerPart(REASONING, value.strip(), (), {**rest, name: _MARK})


def _texts(message: Mapping[str, Any]) -> Iterator[AnswerPart]:
    content = message.get("content") or ""
    for kind, start, end in _pieces(content):
        text = content[start:end].strip()
        if text:
            yield AnswerPart(kind, text, (), {**message, "content": content[:start] + _MARK + content[end:]})
    for name in _TEXT_KEYS:
        if isinstance(message.get(name), str) and message[name].strip():
            yield AnswerPart(TEXT, message[name].strip(), (), {**message, name: _MARK})


def _pieces(content: str) -> Iterator[tuple[str, int, int]]:
    """Kind, begin and end of what stands between the marks of thoughts; before one that only ends it is a thought."""
    start, is_thought = 0, False
    for tag in _THOUGHT_TAG.finditer(content):
        ends = bool(tag["slash"] or tag["bar"] or tag["dash"]) or tag["word"] == "end"
        yield REASONING if is_thought or ends else TEXT, start, tag.start()
        start, is_thought = tag.end(), not ends
    yield REASONING if is_thought else TEXT, start, len(content)


def _calls(message: Mapping[str, Any]) -> Iterator[AnswerPart]:
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield AnswerPart(CALL, function["name"], tuple(_leaves(function["arguments"])), message)


def _leaves(value: Any) -> Iterator[tuple[str, ...]]:
    """What the arguments of a call hold: keys and values, each as JSON writes it or as it is."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield written_forms(key)
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield written_forms(value)


def _find(part: AnswerPart, text: str) -> int | None:
    """Where a part begins in a text; None where it is not there."""
    start = text.find(part.text)
    if start < 0 or not all(any(form in text[start:] for form in forms) for forms in part.values):
        return None
    return start


def _is_rendered(part: AnswerPart, render: Callable[[Mapping[str, Any]], str]) -> bool:
    """Whether the template writes what stands in a part's place."""
    if part.kind == CALL:
        return True
    try:
        return _MARK in render(part.marked)
    except TemplateRefusal:
        return True  # it does not take the mark: what was found counts
