"""funnel.json as rows to draw."""

import json

import pytest

from megatron_redone.curation.counting import Amount
from megatron_redone.curation.funnel import Row, funnel_json
from megatron_redone.report.funnel_view import read_funnel


def test_a_funnel_of_curate_is_read_and_summed() -> None:
    def row(step: str, source: str, entered: int, left: int, held: int = 0) -> Row:
        gone = entered - left - held
        return Row(step, source, Amount(entered, 0, 10 * entered, 3 * entered), Amount(gone, 0, 10 * gone, 3 * gone), 0,
                   Amount(held, 0, 10 * held, 3 * held), Amount(left, 0, 10 * left, 3 * left),
                   {"why": gone} if gone else {})  # fmt: skip

    rows = [row("read", "a", 100, 90), row("read", "b", 10, 10), row("exact", "a", 90, 70, 5), row("exact", "b", 10, 9)]
    for tokens in (True, False):
        everything, a, _ = read_funnel(json.loads(json.dumps({"rows": funnel_json(rows, tokens)})))
        assert (everything.source, everything.entered, everything.left.documents) == ("all sources", 110, 79)
        assert [step.dropped for step in everything.steps] == [10, 16] and everything.left.held_out == 5
        assert a.left.reasons == {"why": 15} and everything.left.reasons == {"why": 16}
        assert everything.left.tokens == (3 * 79 if tokens else None)
    [only] = read_funnel({"rows": funnel_json(rows[:1], True)})
    assert only.source == "a"


def test_another_file_is_told_apart() -> None:
    for content in ({}, {"rows": [{"step": "read"}]}, {"rows": 7}):
        with pytest.raises((KeyError, TypeError)):
            read_funnel(content)
