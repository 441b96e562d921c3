"""What models are evaluated on: texts, pairs and conversations of any input file, invalid records set aside."""

import itertools
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from megatron_redone.curation.conversations.conversation import (
    ROLES,
    read_messages,
    read_tools,
    read_variables,
    required_messages,
    system_beside,
    with_system,
)
from megatron_redone.curation.conversations.turn_marks import without_marks
from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError, Messages
from megatron_redone.formats.inputs import InputFile, expand_inputs
from megatron_redone.formats.raw_records import RawRecord, read_raw
from megatron_redone.generation.chat_prompts import TemplateInputs

# What transformers' `apply_chat_template` takes for itself: templates never see variables of these names.
_ARGUMENTS = frozenset(
    (
        "self",
        "conversation",
        "tools",
        "documents",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
        "sanitize_control_tokens",
    )
)


@dataclass(frozen=True)
class TextExample:
    """A held-out text. `record` is its number in the source, from 1."""

    record: int
    text: str


@dataclass(frozen=True)
class PairExample:
    """A prompt with a better and a worse response, all strings or all lists of messages.

    `beside` is what the chat template reads besides; nothing where they are strings.
    """

    record: int
    prompt: str | Messages
    chosen: str | Messages
    rejected: str | Messages
    beside: TemplateInputs = field(default_factory=TemplateInputs)


@dataclass(frozen=True)
class ConversationExample:
    """A conversation up to the answer, and the answer that is expected.

    `beside` is what the chat template reads besides.
    """

    record: int
    prompt: Messages
    expected: str
    beside: TemplateInputs = field(default_factory=TemplateInputs)


_ALIKE = "chosen and rejected are the same"

Example = TypeVar("Example", TextExample, PairExample, ConversationExample)


@dataclass(frozen=True)
class Examples(Generic[Example]):
    """What a source gives.

    Attributes:
        examples: In the order of the file.
        records: How many the source has.
        invalid: The ones that cannot be used.
        files: Where it all was read.
    """

    examples: list[Example]
    records: int
    invalid: list[InvalidRecord]
    files: list[InputFile]


def read_texts(path: str, text_key: str, max_characters: int | None, limit: int, seed: int) -> Examples[TextExample]:
    """Texts under a key.

    Args:
        path: A file, a directory or a glob.
        text_key: The key of a record that holds its text.
        max_characters: What is read of a text; None reads all.
        limit: How many are drawn, where there are more.
        seed: Of the draw.

    Raises:
        UserError: no file, a damaged one, or not one good record.
    """

    def text_of(record: int, content: Any) -> TextExample:
        if text_key not in content:
            raise InvalidRecordError(f"no key '{text_key}'")
        text = content[text_key]
        if not isinstance(text, str):
            raise InvalidRecordError(f"'{text_key}' is not a string")
        if not text.strip():
            raise InvalidRecordError("empty text")
        return TextExample(record, text[:max_characters])

    return _read(path, text_of, limit, seed)


def read_pairs(path: str, limit: int, seed: int) -> Examples[PairExample]:
    """Preference pairs in TRL's form; see `read_texts` for the rest."""
    return _read(path, _pair, limit, seed)


def read_conversations(path: str, limit: int, seed: int) -> Examples[ConversationExample]:
    """Conversations whose last message is the expected answer; see `read_texts` for the rest."""
    return _read(path, _conversation, limit, seed)


def _read(path: str, parse: Callable[[int, Any], Example], limit: int, seed: int) -> Examples[Example]:
    """Never holds more than `limit` examples: where there are more, a second pass takes those that are drawn."""
    files = expand_inputs([path])
    good: list[Example] = []
    invalid: list[InvalidRecord] = []
    left_out: set[int] = set()
    number = 0
    for number, (file, record) in enumerate(_records(files), 1):
        try:
            example = parse(number, record.parse())
        except InvalidRecordError as reason:
            invalid.append(InvalidRecord.of(file, record.place, reason, record.json))
            left_out.add(number)
        else:
            if len(good) < limit:
                good.append(example)
    if not good:
        why = f"; the first is invalid: {invalid[0].reason}" if invalid else ""
        raise UserError(f"{path}: not one record that can be used{why}")
    if number - len(invalid) > limit:
        good.clear()
        good = _taken(path, files, parse, _draw(number - len(invalid), limit, seed), left_out)
    return Examples(good, number, invalid, files)


def _taken(
    path: str,
    files: Sequence[InputFile],
    parse: Callable[[int, Any], Example],
    places: Sequence[int],
    left_out: Set[int],
) -> list[Example]:
    """The records at some places, in order and from 0, among those that are not left out."""
    numbered = enumerate(_records(files), 1)
    usable = ((number, record) for number, (_, record) in numbered if number not in left_out)
    wanted = frozenset(places)
    try:
        taken = [
            parse(number, record.parse())
            for place, (number, record) in enumerate(itertools.islice(usable, places[-1] + 1))
            if place in wanted
        ]
    except InvalidRecordError:
        taken = []
    if len(taken) < len(places):
        raise UserError(f"{path}: has changed while it was read; start again once it is written")
    return taken


def _records(files: Sequence[InputFile]) -> Iterator[tuple[str, RawRecord]]:
    """Every record with its file."""
    for file in files:
        for batch in read_raw(file):
            yield from ((batch.file, record) for record in batch.records)


def _draw(count: int, limit: int, seed: int) -> list[int]:
    """`limit` numbers below `count`, in order."""
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False)).tolist()


def _pair(record: int, content: dict[str, Any]) -> PairExample:
    for name in ("prompt", "chosen", "rejected"):
        if name not in content:
            raise InvalidRecordError(f"no key '{name}'")
    prompt, chosen, rejected = (content[name] for name in ("prompt", "chosen", "rejected"))
    sides = (prompt, chosen, rejected)
    if not all(isinstance(side, str) for side in sides) and not all(isinstance(side, list) for side in sides):
        raise InvalidRecordError("prompt, chosen and rejected are not all strings or all lists of messages")
    if isinstance(prompt, str):
        return _plain_pair(record, content, prompt, chosen, rejected)
    prompt, chosen, rejected = (_without_marks(read_messages(side, ROLES)) for side in sides)
    if chosen == rejected:
        raise InvalidRecordError(_ALIKE)
    return PairExample(record, with_system(prompt, system_beside(content)), chosen, rejected, _beside(content))


def _plain_pair(record: int, content: dict[str, Any], prompt: str, chosen: str, rejected: str) -> PairExample:
    if not chosen.strip() or not rejected.strip():
        raise InvalidRecordError("an empty response")
    if chosen == rejected:
        raise InvalidRecordError(_ALIKE)
    if _beside(content) != TemplateInputs() or system_beside(content).strip():
        raise InvalidRecordError("a system prompt, tools or variables beside plain text, which has no place for them")
    return PairExample(record, prompt, chosen, rejected)


def _conversation(record: int, content: dict[str, Any]) -> ConversationExample:
    messages = _without_marks(with_system(required_messages(content, "messages"), system_beside(content)))
    *prompt, answer = messages
    if not prompt or answer["role"] != "assistant":
        raise InvalidRecordError("the last message is not an assistant's answer to others")
    if "tool_calls" in answer:
        raise InvalidRecordError("the expected answer calls a tool; only texts are compared")
    return ConversationExample(record, prompt, answer["content"], _beside(content))


def _beside(content: dict[str, Any]) -> TemplateInputs:
    variables = read_variables(content)
    if arguments := sorted(_ARGUMENTS & variables.keys()):
        raise InvalidRecordError(f"variables that no template can read: {', '.join(arguments)}")
    return TemplateInputs(read_tools(content.get("tools")), variables)


def _without_marks(messages: Messages) -> Messages:
    """Messages as a template is to see them."""
    return [without_marks(message) for message in messages]
