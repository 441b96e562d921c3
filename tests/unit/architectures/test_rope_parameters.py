"""What a rotary part without meaning is answered with; values against transformers are in test_families.py."""

from typing import Any

import pytest

from megatron_redone.architectures.rope_parameters import read_rotary
from megatron_redone.errors import UserError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear', an object was expected"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "rope_type 'dynamic' is not supported"),
        ({"rope_scaling": {"type": "yarn"}}, "'yarn' needs the number factor, which is None"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"partial_rotary_factor": 0.25}, "partial_rotary_factor"),
    ],
)
def test_what_is_not_computed_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_rotary(content, head_dim=8, default_theta=1e4, max_length=64)


def test_both_spellings_may_stand_there_where_they_agree() -> None:
    content = {
        "rope_theta": 5e5,
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5},
    }
    found = read_rotary(content, head_dim=8, default_theta=1e4, max_length=64)
    assert (found.kind, found.theta, found.scaling) == ("linear", 5e5, {"factor": 2.0})
