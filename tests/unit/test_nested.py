"""Strings of nested values, with the way to them."""

from hypothesis import given
from hypothesis import strategies as st

from megatron_redone.nested import texts_in

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_texts_come_with_their_places() -> None:
    value = {"question": "why", "choices": ["a", {"text": "b"}], "answer": 2}
    assert list(texts_in(value)) == [
        (("question",), "why"),
        (("choices", 0), "a"),
        (("choices", 1, "text"), "b"),
    ]


@given(JSON)
def test_a_place_leads_to_its_text(value: object) -> None:
    for place, text in texts_in(value):
        found = value
        for step in place:
            found = found[step]  # type: ignore[index]
        assert found == text
