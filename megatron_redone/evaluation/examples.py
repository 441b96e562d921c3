"""What models are evaluated on: texts, pairs and conversations of any input file, invalid records set aside."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError, Messages
from megatron_redone.formats.inputs import InputFile, expand_inputs
from megatron_redone.formats.raw_records import RawRecord, read_raw


@dataclass(frozen=True)
class TextExample:
    """A held-out text. `record` is its number in the source, from 1."""

    record: int
    text: str


@dataclass(frozen=True)
class PairExample:
    """A prompt with a better and a worse response, all strings or all lists of messages."""

    record: int
    prompt: str | Messages
    chosen: str | Messages
    rejected: str | Messages


@dataclass(frozen=True)
class ConversationExample:
    """A conversation up to the answer, and the answer that is expected."""

    record: int
    prompt: Messages
    expected: str


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
    files = expand_inputs([path])
    good: list[Example] = []
    invalid: list[InvalidRecord] = []
    number = 0
    for number, (file, record) in enumerate(_records(files), 1):
        try:
            good.append(parse(number, record.parse()))
        except InvalidRecordError as reason:
            invalid.append(InvalidRecord.of(file, record.place, reason, record.json))
    if not good:
        why = f"; the first is invalid: {invalid[0].reason}" if invalid else ""
        raise UserError(f"{path}: not one record that can be used{why}")
    return Examples(_draw(good, limit, seed), number, invalid, files)


def _records(files: Sequence[InputFile]) -> Iterator[tuple[str, RawRecord]]:
    """Every record with its file."""
    for file in files:
        for batch in read_raw(file):
            yield from ((batch.file, record) for record in batch.records)


def _draw(good: list[Example], limit: int, seed: int) -> list[Example]:
    """At most `limit` of them, in their order."""
    if len(good) <= limit:
        return good
    chosen = np.random.default_rng(seed).choice(len(good), limit, replace=False)
    return [good[i] for i in np.sort(chosen)]


def _pair(record: int, content: dict[str, Any]) -> PairExample:
    for name in ("prompt", "chosen", "rejected"):
        if name not in content:
            raise InvalidRecordError(f"no key '{name}'")
    prompt, chosen, rejected = (content[name] for name in ("prompt", "chosen", "rejected"))
    sides = (prompt, chosen, rejected)
    if not all(isinstance(side, str) for side in sides) and not all(isinstance(side, list) for side in sides):
        raise InvalidRecordError("prompt, chosen and rejected are not all strings or all lists of messages")
    for side in sides:
        if isinstance(side, list):
            _check_messages(side)
    if not _text(chosen).strip() or not _text(rejected).strip():
        raise InvalidRecordError("an empty response")
    if chosen == rejected:
        raise InvalidRecordError("chosen and rejected are the same")
    return PairExample(record, prompt, chosen, rejected)


def _text(side: str | Messages) -> str:
    return side if isinstance(side, str) else "".join(message["content"] for message in side)


def _conversation(record: int, content: dict[str, Any]) -> ConversationExample:
    messages = content.get("messages")
    if not isinstance(messages, list):
        raise InvalidRecordError("no list under the key 'messages'")
    _check_messages(messages)
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise InvalidRecordError("the last message is not an assistant's answer to others")
    if not messages[-1]["content"].strip():
        raise InvalidRecordError("an empty answer")
    return ConversationExample(record, messages[:-1], messages[-1]["content"])


def _check_messages(messages: list[Any]) -> None:
    if not messages:
        raise InvalidRecordError("an empty list of messages")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRecordError("a message without a role")
        if not isinstance(message.get("content"), str):
            raise InvalidRecordError("a message whose content is not a string")
