"""What a rotary part without meaning is answered with; values against transformers are in test_families.py."""

from typing import Any

import pytest

from megatron_redone.architectures.rope_parameters import read_rotary
from megatron_redone.errors import UserError

LLAMA3 = {"type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear', an object was expected"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "rope_type 'dynamic' is not supported"),
        ({"rope_scaling": {"type": "yarn"}}, "'yarn' needs the number factor, which is None"),
        ({"rope_scaling": {**LLAMA3, "original_max_position_embeddings": None}}, "needs the number original_max"),
        ({"rope_scaling": LLAMA3}, "'llama3' needs the number original_max_position_embeddings, which is None"),
        ({"rope_scaling": {"type": "linear"}}, "'linear' needs the number factor, which is None"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "needs the number factor, which is '2'"),
        ({"rope_scaling": {"type": "linear", "factor": True}}, "needs the number factor, which is True"),
        ({"rope_scaling": {"type": "linear", "factor": -2.0}}, "factor is -2.0, which is none of its values"),
        ({"rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 2}}, "'linear' and 'yarn' contradict"),
        ({"rope_scaling": {"rope_type": None, "factor": 2}}, "rope_type None is not supported"),
        ({"rope_scaling": {"factor": 2}}, "factor means nothing for rope_type 'default'"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "beta_fast": 3}}, "beta_fast means nothing for .*'linear'"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, r"single kinds of layers \(full_att"),
        ({"rope_scaling": {**YARN, "beta_fast": 1, "beta_slow": 2}}, "beta_slow 2 is not below beta_fast 1"),
        ({"rope_scaling": {**YARN, "truncate": None}}, "truncate is None, which is none of its values"),
        ({"rope_scaling": YARN, "original_max_position_embeddings": 32}, "64 and 32 contradict each other"),
        ({"rope_theta": "10000"}, "rope_theta is '10000', a number above 1"),
        ({"rope_theta": None}, "rope_theta is null"),
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


@pytest.mark.parametrize(
    "content",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_scaling": YARN, "rope_theta": 5e5},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}, "rope_scaling": YARN},
        # transformers 5 takes the second, and with it the family's base.
        {
            "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5},
            "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        },
    ],
)
def test_two_spellings_that_differ_in_anything_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="rope_parameters and rope_scaling do not say the same"):
        read_rotary(content, head_dim=8, default_theta=1e4, max_length=64)


def test_an_odd_head_cannot_be_rotated() -> None:
    with pytest.raises(UserError, match="head_dim is 7"):
        read_rotary({}, head_dim=7, default_theta=1e4, max_length=64)
