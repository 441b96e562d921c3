"""Every two models on a row of a table."""

from megatron_redone.evaluation.tables import sections
from tests.helpers.evaluated_sources import answers, evaluation_content

RIGHT = {"base": [0] * 20, "first": [1] * 20, "second": [1] * 15 + [0] * 5}


def test_models_are_compared_with_each_other_too() -> None:
    [section] = sections(evaluation_content(sources=[answers("tags", RIGHT)]))
    [row] = section.rows
    assert [(pair.first, pair.second) for pair in row.pairs] == [
        ("base", "first"), ("base", "second"), ("first", "second"),
    ]  # fmt: skip
    assert [pair.change for pair in row.pairs] == ["+100.0", "+75.0", "−25.0"]
    assert {pair.test for pair in row.pairs} == {"McNemar exact"}
    assert row.cells[1].p_value == row.pairs[0].p_value and row.cells[2].p_value == row.pairs[1].p_value


def test_a_difference_counts_by_its_adjusted_p_value() -> None:
    """Six of six is 2 ** -5 = 0.031 in McNemar's exact test; among three pairs it is no longer below 5 %."""
    right = {"base": [0] * 20, "first": [1] * 6 + [0] * 14, "second": [1] * 3 + [0] * 17}
    [section] = sections(evaluation_content(sources=[answers("tags", right)]))
    [pair, *_] = section.rows[0].pairs
    assert (pair.p_value, pair.improved) == ("p = 0.094", None)
    two = {name: right[name] for name in ("base", "first")}
    [section] = sections(evaluation_content(sources=[answers("tags", two)]))
    [pair] = section.rows[0].pairs
    assert (pair.p_value, pair.improved) == ("p = 0.031", True)


def test_fewer_bits_are_better() -> None:
    social = sections(evaluation_content())[0]
    assert social.rows[0].pairs[0].improved is True and social.rows[0].pairs[0].change.startswith("−")
