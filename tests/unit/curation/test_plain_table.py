"""Tables as text: what belongs to a column stands below its header, and nothing is broken or lost."""

from megatron_redone.curation.plain_table import plain_table


def test_words_are_ranged_left_and_numbers_right() -> None:
    lines = plain_table(["name", "count", "why"], [["a", "12,345", "[x] :smile: y"], ["longer", "1", ""]], words=(0, 2))
    assert lines == ["name     count  why", "a       12,345  [x] :smile: y", "longer       1"]


def test_a_wide_cell_stays_on_its_line() -> None:
    (_, line) = plain_table(["a", "b"], [["x" * 500, "1"]])
    assert line == "x" * 500 + "  1"
