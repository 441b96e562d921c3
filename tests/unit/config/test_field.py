"""What a key says about itself: its range, and a default of its own for every configuration."""

import math
from dataclasses import dataclass

import pytest

from megatron_redone.config.field import KeyFacts, facts_of, key, out_of_range, range_text


@pytest.mark.parametrize(
    ("facts", "allowed", "refused"),
    [
        (KeyFacts(help="", at_least=1), [1, 1.5, 10**9], [0, 0.99, -1]),
        (KeyFacts(help="", above=0), [1e-12, 1], [0, 0.0, -1e-12]),
        (KeyFacts(help="", at_least=0, below=1), [0, 0.999], [1, 1.0, -0.001]),
        (KeyFacts(help="", at_least=-1, at_most=1), [-1, 1], [-1.001, 1.001]),
        (KeyFacts(help=""), [0, -5, 1e300], []),
    ],
)
def test_the_borders_of_a_range(facts: KeyFacts, allowed: list[float], refused: list[float]) -> None:
    assert [out_of_range(facts, value) for value in allowed] == [None] * len(allowed)
    for value in [*refused, math.nan, math.inf, -math.inf]:
        assert str(value) in str(out_of_range(facts, value))


def test_what_is_no_number_has_no_range() -> None:
    facts = KeyFacts(help="", at_least=2)
    assert [out_of_range(facts, value) for value in (None, "1", True, False, [1])] == [None] * 5


@pytest.mark.parametrize(
    ("facts", "text"),
    [({}, ""), ({"at_least": 1}, "at least 1"), ({"above": 0, "below": 0.5}, "above 0, below 0.5"),
     ({"at_least": 0, "at_most": 1}, "at least 0, at most 1")],
)  # fmt: skip
def test_a_range_in_words(facts: dict[str, float], text: str) -> None:
    assert range_text(KeyFacts(help="", **facts)) == text  # type: ignore[arg-type]


@dataclass
class Inner:
    value: int = key("a value", 1)


@dataclass
class Outer:
    required: int = key("no default", above=0)
    names: list[str] = key("a list", ["a"])
    inner: Inner = key("a section", Inner)


def test_lists_and_sections_are_no_one_elses() -> None:
    with pytest.raises(TypeError, match="required"):
        Outer()  # type: ignore[call-arg]
    one, other = Outer(required=1), Outer(required=1)
    one.names.append("b")
    one.inner.value = 2
    assert other.names == ["a"] and other.inner == Inner(value=1)
    assert facts_of(Outer.__dataclass_fields__["required"]) == KeyFacts(help="no default", above=0)
