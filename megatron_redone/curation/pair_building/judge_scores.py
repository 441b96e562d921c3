"""A judge whose scores lie in files."""

from collections.abc import Sequence
from typing import Any

from megatron_redone.curation.pair_building.judge import Judge, NoAnswer, Question, Scores
from megatron_redone.curation.pair_building.objects import JsonObject, read_objects
from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecord
from megatron_redone.formats.inputs import expand_inputs

_FORM = '{"id": "...", "order": [1, 2], "scores": [7, 4]}'


def judge_from_files(names: Sequence[str]) -> Judge:
    """Reads scores, each of a record's two responses as the judge saw them in one order.

    Args:
        names: Of files with objects of the form `{"id", "order": [first, second], "scores": [of first, of second]}`,
            the responses numbered from 1.

    Raises:
        UserError: no such file, or something else in it.
    """
    table: dict[tuple[str, int, int], Scores] = {}
    for item in read_objects(expand_inputs(names)):
        record, order, scores = _read(item)
        if table.setdefault((record, *order), scores) != scores:
            raise UserError(f"{item.file}:{item.place}: other scores for record '{record}' stand before; keep one")

    def judge(questions: Sequence[Question]) -> list[Scores | NoAnswer]:
        missing = NoAnswer("no scores of the judge in this order")
        return [table.get((question.record, *question.numbers), missing) for question in questions]

    return judge


def _read(item: JsonObject | InvalidRecord) -> tuple[str, tuple[int, int], Scores]:
    fields: dict[str, Any] = {} if isinstance(item, InvalidRecord) else item.fields
    order, scores = fields.get("order"), fields.get("scores")
    if "id" not in fields or not _two(order, int) or not _two(scores, (int, float)):
        raise UserError(f"{item.file}:{item.place}: not of the form {_FORM}")
    assert order is not None and scores is not None
    return str(fields["id"]), (order[0], order[1]), (float(scores[0]), float(scores[1]))


def _two(value: Any, kind: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(x, kind) and not isinstance(x, bool) for x in value)
    )
