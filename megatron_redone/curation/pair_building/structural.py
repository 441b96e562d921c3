"""Pairs of a question's right answer and its wrong options."""

import ast
import random
from collections.abc import Iterator
from typing import Any

from megatron_redone.config.build_preferences import OptionsConfig, StructuralConfig
from megatron_redone.curation.pair_building.labelled_records import (
    NoPair,
    Pair,
    Record,
    Records,
    gold_of,
    no_pair,
)
from megatron_redone.curation.pair_building.result import Result, collect
from megatron_redone.formats.input_records import InvalidRecordError

# Draws for each wrong answer that is wanted, before it is taken that there is no other.
_DRAWS = 50


def build_structural(config: StructuralConfig, records: Records) -> Result:
    """Makes for every record as many different wrong answers as are wanted and to be had.

    A wrong answer is a wrong option; where the right answer has several parts, as many wrong options as it has
    parts; where the parts are the levels of a path, the path with one level or more exchanged. The choice depends
    on the seed and the record's id alone. The rewards of a pair are 1 and 0.
    """
    outcomes: list[Pair | NoPair] = []
    for record in records.good:
        try:
            outcomes += _pairs(config, record)
        except InvalidRecordError as reason:
            outcomes.append(no_pair(record, reason))
    return collect(records, outcomes)


def _pairs(config: StructuralConfig, record: Record) -> Iterator[Pair | NoPair]:
    gold = gold_of(record, config.gold_key).strip()
    levels = [_options(record, key) for key in config.options.keys] or [config.options.values]
    parts = _parts(config.options, gold, len(levels))
    draw = random.Random(f"{config.seed}:{record.id}")
    wrong = _wrong_answers(config, parts, levels, draw)
    if not wrong:
        yield no_pair(record, "no option is wrong")
    for answer in wrong:
        offered = sum(len(options) for options in levels)
        yield Pair(record, gold, answer, 1.0, 0.0, {"options": offered})


def _parts(options: OptionsConfig, gold: str, levels: int) -> list[str]:
    if options.separator is None:
        return [gold]
    parts = [part.strip() for part in gold.split(options.separator.strip())]
    if levels > 1 and len(parts) != levels:
        raise InvalidRecordError(f"the right answer has not {levels} levels")
    return parts


def _wrong_answers(
    config: StructuralConfig, parts: list[str], levels: list[list[str]], draw: random.Random
) -> list[str]:
    path = len(levels) > 1
    for part, options in zip(parts, levels if path else levels * len(parts), strict=True):
        if part not in options:
            raise InvalidRecordError("the right answer is not among the options")
    # A list of one option only could be drawn for ever: draws are limited, and sets keep what is new.
    found: dict[str, None] = {}
    for _ in range(_DRAWS * config.pairs_per_record):
        answer = _draw_path(parts, levels, draw) if path else _draw_labels(parts, levels[0], draw)
        if answer is None:
            break
        found.setdefault((config.options.separator or "").join(answer))
        if len(found) == config.pairs_per_record:
            break
    return list(found)


def _draw_labels(gold: list[str], options: list[str], draw: random.Random) -> list[str] | None:
    """As many wrong options as there are right ones, fewer where there are not so many."""
    wrong = [option for option in dict.fromkeys(options) if option not in gold]
    return draw.sample(wrong, min(len(gold), len(wrong))) or None


def _draw_path(gold: list[str], levels: list[list[str]], draw: random.Random) -> list[str] | None:
    """The path with one level or more exchanged for another option of the same level."""
    others = [
        [option for option in dict.fromkeys(level) if option != part] for part, level in zip(gold, levels, strict=True)
    ]
    exchangeable = [number for number, level in enumerate(others) if level]
    if not exchangeable:
        return None
    exchanged = draw.sample(exchangeable, draw.randint(1, len(exchangeable)))
    return [draw.choice(others[i]) if i in exchanged else part for i, part in enumerate(gold)]


def _options(record: Record, key: str) -> list[str]:
    """A list, a Python list written as a string, or names between commas."""
    value: Any = record.fields.get(key)
    if isinstance(value, str):
        value = _read_list(value, key) if value.lstrip().startswith("[") else value.split(",")
    if not isinstance(value, list) or not all(isinstance(option, str) for option in value):
        raise InvalidRecordError(f"'{key}' is not a list of options")
    return [option.strip() for option in value if option.strip()]


def _read_list(text: str, key: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise InvalidRecordError(f"'{key}' is not a list that can be read") from None
