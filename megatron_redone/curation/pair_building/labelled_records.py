"""Records with a prompt, and what is made of them: pairs, or a reason why there is none."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_redone.config.build_preferences import SourceConfig
from megatron_redone.curation.conversations.answer_parts import parts_beside_text
from megatron_redone.curation.pair_building.objects import JsonObject, read_objects
from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import EXCERPT, InvalidRecord, InvalidRecordError
from megatron_redone.formats.inputs import InputFile, expand_inputs
from megatron_redone.formats.json_values import to_json

Messages = list[dict[str, str]]

# Of a tool's turn templates also read whose result it is.
_MESSAGE_KEYS = ("role", "content", "name", "tool_call_id")

_KEY = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Record:
    """A record whose prompt is known.

    Attributes:
        id: What identifies it among the records of its source.
        origin: `FILE:PLACE`, for people.
        messages: The prompt.
        fields: All keys of the record.
    """

    id: str
    origin: str
    messages: Messages
    fields: dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """A chosen and a rejected response.

    Attributes:
        record: What they answer.
        chosen_reward: How good the chosen one is, in the measure of what made the pair.
        rejected_reward: The same of the rejected one.
        provenance: How the pair came about.
    """

    record: Record
    chosen: str
    rejected: str
    chosen_reward: float
    rejected_reward: float
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NoPair:
    """A record, or two of its responses, of which no pair was made.

    Attributes:
        origin: `FILE:PLACE`.
        reason: Why, without the record's own words, so that reasons can be counted.
        excerpt: The beginning of the record.
        is_invalid: Whether the record is at fault; otherwise there is nothing to learn from it.
    """

    origin: str
    reason: str
    excerpt: str
    is_invalid: bool = False


@dataclass(frozen=True)
class Records:
    """A source, read.

    Attributes:
        good: In the order of the files.
        invalid: The others.
        files: Where it all stood.
    """

    good: list[Record]
    invalid: list[NoPair]
    files: list[InputFile]

    @property
    def total(self) -> int:
        """How many records the files hold."""
        return len(self.good) + len(self.invalid)


def read_source(source: SourceConfig) -> Records:
    """Reads the records of a source and puts their prompts together.

    Raises:
        UserError: no such files, a damaged one, or not one good record.
    """
    files = expand_inputs(source.input)
    good: list[Record] = []
    invalid: list[NoPair] = []
    ids: set[str] = set()
    for item in read_objects(files):
        try:
            good.append(_to_record(source, item, ids))
        except InvalidRecordError as reason:
            invalid.append(NoPair(f"{item.file}:{item.place}", str(reason), _excerpt(item), is_invalid=True))
    if not good:
        why = f"; the first is invalid: {invalid[0].reason}" if invalid else ""
        raise UserError(f"{', '.join(source.input)}: not one record that can be used{why}")
    return Records(good, invalid, files)


def no_pair(record: Record, reason: str | InvalidRecordError) -> NoPair:
    """Notes that no pair is made of a record, or of two of its responses."""
    excerpt = to_json(record.fields)[:EXCERPT].decode(errors="replace")
    return NoPair(record.origin, str(reason), excerpt, is_invalid=isinstance(reason, InvalidRecordError))


def text_under(fields: dict[str, Any], key: str) -> str:
    """A key's text.

    Raises:
        InvalidRecordError: it is missing, empty or no string.
    """
    return _check_text(_value(fields, key), f"'{key}'")


def gold_of(record: Record, key: str) -> str:
    """The right answer: a string or a number.

    Raises:
        InvalidRecordError: it is missing, empty or something else.
    """
    return _check_text(_piece(record.fields, key), f"'{key}'")


def responses_of(record: Record, keys: list[str]) -> list[str]:
    """Two or more responses: under a key each, or in a list under one key.

    Raises:
        InvalidRecordError: fewer, or one that is empty or no string.
    """
    if len(keys) > 1:
        return [text_under(record.fields, key) for key in keys]
    values = _value(record.fields, keys[0])
    if not isinstance(values, list) or len(values) < 2:
        raise InvalidRecordError(f"'{keys[0]}' is not a list of two responses or more")
    return [_check_text(value, f"a response in '{keys[0]}'") for value in values]


def _to_record(source: SourceConfig, item: JsonObject | InvalidRecord, ids: set[str]) -> Record:
    if isinstance(item, InvalidRecord):
        raise InvalidRecordError(item.reason)
    if source.id_key is None:
        name, clash = f"{Path(item.file).name}:{item.number}", "another file has the same name; set id_key"
    else:
        name, clash = str(_value(item.fields, source.id_key)), f"'{source.id_key}' identifies an earlier record too"
    if name in ids:
        raise InvalidRecordError(clash)
    messages = _messages(source.prompt, item.fields)
    ids.add(name)
    return Record(name, f"{item.file}:{item.place}", messages, item.fields)


def _messages(template: str, fields: dict[str, Any]) -> Messages:
    whole = _KEY.fullmatch(template.strip())
    if whole and isinstance(fields.get(whole.group(1)), list):
        return _check_messages(fields[whole.group(1)], whole.group(1))
    text = _KEY.sub(lambda found: _piece(fields, found.group(1)), template).strip()
    if not text:
        raise InvalidRecordError("empty prompt")
    return [{"role": "user", "content": text}]


def _piece(fields: dict[str, Any], key: str) -> str:
    value = _value(fields, key)
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise InvalidRecordError(f"'{key}' is {_kind(value)}, not a string")


def _check_messages(messages: list[Any], key: str) -> Messages:
    good = all(
        isinstance(message, dict) and all(isinstance(message.get(name), str) for name in ("role", "content"))
        for message in messages
    )
    if not messages or not good:
        raise InvalidRecordError(f"'{key}' is not a list of messages with role and content")
    if messages[-1]["role"] == "assistant":
        raise InvalidRecordError(f"'{key}' ends with an answer, not with what is to be answered")
    parts = sorted({name for message in messages for name, part in parts_beside_text(message).items() if part})
    if parts:
        raise InvalidRecordError(f"'{key}' has messages with {', '.join(parts)}, which prompts of pairs cannot hold")
    return [{name: message[name] for name in _MESSAGE_KEYS if message.get(name) is not None} for message in messages]


def _check_text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidRecordError(f"{what} is {_kind(value)}, not a string")
    if not value.strip():
        raise InvalidRecordError(f"{what} is empty")
    return value


def _value(fields: dict[str, Any], key: str) -> Any:
    if key not in fields:
        raise InvalidRecordError(f"no key '{key}'")
    return fields[key]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}.get(type(value), "a number")


def _excerpt(item: JsonObject | InvalidRecord) -> str:
    if isinstance(item, InvalidRecord):
        return item.excerpt
    return to_json(item.fields)[:EXCERPT].decode(errors="replace")
