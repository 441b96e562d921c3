"""The short hash: the same for the same content, in any process, and another one for any change."""

from hashlib import sha256

import pytest

from megatron_redone.hashing import short_hash


def test_it_is_the_beginning_of_sha256_over_json() -> None:
    """As anybody can compute it, so that markers of earlier versions go on counting."""
    assert short_hash(["a", 1]) == sha256(b'["a", 1]').hexdigest()[:16]


def test_the_order_of_keys_does_not_count() -> None:
    assert short_hash({"a": {"b": 1, "c": 2}, "d": 3}) == short_hash({"d": 3, "a": {"c": 2, "b": 1}})


@pytest.mark.parametrize(
    "other", [{"a": [2, 1]}, {"a": [1, 2], "b": None}, {"a": ["1", 2]}, {"b": [1, 2]}, [1, 2], None]
)
def test_every_change_counts(other: object) -> None:
    assert short_hash({"a": [1, 2]}) != short_hash(other)


def test_what_json_does_not_hold_is_no_content() -> None:
    """A value whose text differs from process to process must not become a hash."""
    with pytest.raises(TypeError):
        short_hash({"a": object()})
