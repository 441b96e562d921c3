"""The keys by which training tools say that a turn is not to be learned, or how much.

All of them become two: `weight`, what the loss of a turn's tokens counts, from 0 to 1; and `train_detail`, which
parts of its content are learned. A turn with several marks counts their product.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from megatron_redone.formats.input_records import InvalidRecordError

WEIGHT = "weight"
DETAIL = "train_detail"

# true, false or a number from 0 to 1. OpenAI, Mistral, Together and Fireworks write `weight`; ms-swift `loss` and
# `loss_scale`, XTuner `loss`; LLaMA-Factory `loss_weight`; axolotl `train` and `training`; tinker `trainable`; slime
# `step_loss_mask`.
_WEIGHTS = (WEIGHT, "loss", "loss_scale", "loss_weight", "train", "training", "trainable", "step_loss_mask")
# The same the other way round: torchtune's `masked`.
_NEGATED = ("masked",)
# axolotl's list of {"begin_offset", "end_offset", "train"}: characters of the content, the last included.
_DETAILS = (DETAIL, "training_detail")
_OFFSETS = ("begin_offset", "end_offset")

# Of a whole record: those of a turn, and Fireworks' and NeMo-RL's for all of it.
_RECORD_WEIGHTS = (*_WEIGHTS, "sample_weight", "loss_multiplier")
# TRL's, ms-swift's and LLaMA-Factory's word on a single answer: false where it is the kind that is not wanted.
_WANTED = ("label", "kto_tag")
_MASK_HISTORY = "mask_history"  # LLaMA-Factory: only the answers since the last question are learned

_MARK_WORD = re.compile(r"train|loss|weight|mask|learn")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class UnknownMarks(InvalidRecordError):
    """Keys that look like marks of what is learned, and are none that is known.

    Attributes:
        names: The keys.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Takes the keys."""
        self.names = sorted(set(names))
        super().__init__(f"unknown marks of what is learned: {', '.join(self.names)}")


@functools.lru_cache(maxsize=1024)
def looks_like_mark(name: str) -> bool:
    """Whether one of the words in a key begins as marks of what is learned do."""
    return any(_MARK_WORD.match(word.lower()) for word in _WORDS.findall(name))


def take_marks(message: dict[str, Any]) -> dict[str, Any]:
    """Takes the marks out of a message and says what they mean: `weight`, `train_detail`, or nothing.

    Raises:
        InvalidRecordError: a mark has another value than it can have.
    """
    weights = [_weight(name, message.pop(name)) for name in _WEIGHTS if name in message]
    weights += [1 - _weight(name, message.pop(name)) for name in _NEGATED if name in message]
    details = [_detail(name, message.pop(name)) for name in _DETAILS if name in message]
    if len(details) > 1:
        raise InvalidRecordError(f"both {' and '.join(_DETAILS)}")
    if details and not details[0]:
        weights.append(0)
    meaning: dict[str, Any] = {WEIGHT: _product(weights)} if weights else {}
    return {**meaning, DETAIL: details[0]} if details and details[0] else meaning


def without_marks(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as a template is to see it."""
    return {name: value for name, value in message.items() if name not in (WEIGHT, DETAIL)}


def marks_of(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Everything in a turn that is a mark, or looks like one."""
    return {name: value for name, value in turn.items() if looks_like_mark(name)}


def check_known(messages: Iterable[Mapping[str, Any]]) -> None:
    """Finds keys that look like marks and are not known.

    Args:
        messages: Read; the marks that are known have become `weight` and `train_detail`.

    Raises:
        UnknownMarks: with all of them.
    """
    unknown = {name for message in messages for name in marks_of(message)} - {WEIGHT, DETAIL}
    if unknown:
        raise UnknownMarks(unknown)


def without_ignored(record: Mapping[str, Any], ignored: Iterable[str]) -> dict[str, Any]:
    """A record without some keys, its own and those of its turns; what tools and calls hold stays."""
    names = frozenset(ignored)
    if not names:
        return dict(record)
    return {name: _in_turns(value, names) for name, value in record.items() if name not in names}


def mark_all(record: Mapping[str, Any], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages with the marks of their record.

    Raises:
        InvalidRecordError: a mark has another value than it can have, or says that the answer is not wanted.
        UnknownMarks: the record has keys that look like marks, with values like those of marks.
    """
    unwanted = next((name for name in _WANTED if record.get(name) is False), None)
    if unwanted is not None:
        raise InvalidRecordError(f"'{unwanted}' is false: its answer is one that is not wanted")
    marks = {name: value for name, value in record.items() if looks_like_mark(name) and _could_be_mark(value)}
    weight = _product([_record_weight(name, marks.pop(name)) for name in _RECORD_WEIGHTS if name in marks])
    weight *= _product([1 - _record_weight(name, marks.pop(name)) for name in _NEGATED if name in marks])
    mask_history = marks.pop(_MASK_HISTORY, False)
    if marks:
        raise UnknownMarks(marks)
    first = last_answers(messages) if mask_history else 0
    return [
        _weighed(message, weight if number >= first else 0) if message["role"] == "assistant" else message
        for number, message in enumerate(messages)
    ]


def last_answers(messages: list[dict[str, Any]]) -> int:
    """The message from which on the assistant answers the last question that has an answer."""
    answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    end = answers[-1] if answers else 0
    return max((number for number in range(end) if messages[number]["role"] == "user"), default=0)


def turn_weight(message: Mapping[str, Any]) -> float:
    """What the loss of a turn counts, 1 where no mark says otherwise."""
    return message.get(WEIGHT, 1.0)


def learned_characters(message: Mapping[str, Any]) -> list[tuple[int, int]] | None:
    """The ranges of its content that are to be learned, or None for all of it."""
    details = message.get(DETAIL)
    if details is None:
        return None
    return [(detail[_OFFSETS[0]], detail[_OFFSETS[1]] + 1) for detail in details if detail["train"]]


def _weight(name: str, value: Any) -> float:
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise InvalidRecordError(f"the mark '{name}' is not true, false or a weight from 0 to 1")


def _record_weight(name: str, value: Any) -> float:
    if isinstance(value, list):
        raise UnknownMarks([name])
    try:
        return _weight(name, value)
    except InvalidRecordError as error:
        raise InvalidRecordError(f"{error}; where it is no mark, name it in ignored_marks") from None


def _detail(name: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise InvalidRecordError(f"'{name}' is not an array")
    for part in value:
        offsets: list[Any] = [part.get(key) for key in _OFFSETS] if isinstance(part, dict) else []
        if not offsets or not all(type(offset) is int for offset in offsets) or not 0 <= offsets[0] <= offsets[1]:
            raise InvalidRecordError(f"'{name}' has a part without {' and '.join(_OFFSETS)} in order")
        if not isinstance(part.get("train"), bool):
            raise InvalidRecordError(f"'{name}' has a part whose 'train' is not true or false")
    return [{key: part[key] for key in (*_OFFSETS, "train")} for part in value]


def _product(weights: Iterable[float]) -> float:
    product = 1.0
    for weight in weights:
        product *= weight
    return product


def _could_be_mark(value: Any) -> bool:
    """Whether a value of a record is like that of a mark; records have much else."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, bool | int | float) for item in value)
    return isinstance(value, bool | int | float)


def _weighed(message: dict[str, Any], weight: float) -> dict[str, Any]:
    return message if weight == 1 else {**message, WEIGHT: turn_weight(message) * weight}


def _in_turns(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_in_turns(item, names) for item in value]
    if not isinstance(value, dict) or not ("role" in value or "from" in value):
        return value
    return {name: item for name, item in value.items() if name not in names}
