"""The tables of an evaluation.json."""

from typing import Any

import pytest

from megatron_redone.evaluation.tables import sections
from tests.helpers.evaluated_sources import evaluation_content


@pytest.fixture(scope="module")
def evaluation() -> dict[str, Any]:
    return evaluation_content()


def test_tables_put_models_side_by_side_and_say_what_improved(evaluation: dict[str, Any]) -> None:
    social, general, preferences, answers = sections(evaluation)
    assert [row.title for row in social.rows] == ["tweets", "posts", "mean of 2 sources"]
    assert [row.is_mean for row in social.rows] == [False, False, True]
    assert [row.title for row in general.rows] == ["wiki"], "the mean of one source is itself"
    assert [cell.improved for cell in social.rows[0].cells] == [None, True], "fewer bits are better"
    assert [cell.improved for cell in general.rows[0].cells] == [None, None]
    pairs = preferences.rows[0].cells[1]
    assert (pairs.value, pairs.change, pairs.improved) == ("100.0 %", "+50.0", True)
    assert answers.rows[1].detail == "information extraction, F1 of items"


def test_a_row_says_whether_the_change_is_significant_and_what_would_be(evaluation: dict[str, Any]) -> None:
    tweets, _, mean = next(section for section in sections(evaluation) if section.title == "Social text").rows
    assert tweets.cells[0].p_value == "" and tweets.cells[1].p_value == "p = 0.025", "three rows, 400 draws each"
    assert 0 < float(tweets.least_difference) < 0.2 and mean.cells[1].p_value == "p = 0.025"
    [wiki] = next(section for section in sections(evaluation) if section.title == "General text").rows
    assert (wiki.cells[1].p_value, wiki.least_difference) == ("p = 1.00", "")


def test_the_mean_over_sources_stands_where_there_are_several(evaluation: dict[str, Any]) -> None:
    assert [row.is_mean for section in sections(evaluation) for row in section.rows].count(True) == 1
