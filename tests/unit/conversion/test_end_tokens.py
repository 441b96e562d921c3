"""Every end token stays, and others come after them."""

from typing import Any

import pytest

from megatron_redone.conversion.end_tokens import with_end_tokens


@pytest.mark.parametrize(
    ("generation", "config", "added", "expected"),
    [
        ({"eos_token_id": [2, 5], "top_k": 3}, {}, [], {"eos_token_id": [2, 5], "top_k": 3}),
        ({"eos_token_id": [2, 5]}, {}, [5, 7], {"eos_token_id": [2, 5, 7]}),
        ({"eos_token_id": 2}, {"eos_token_id": 9}, [2], {"eos_token_id": 2}),
        ({"eos_token_id": 2}, {"eos_token_id": 9}, [7, 7], {"eos_token_id": [2, 7]}),
        ({"top_k": 3}, {"eos_token_id": 9}, [7], {"top_k": 3, "eos_token_id": [9, 7]}),
        ({}, {"eos_token_id": 9, "bos_token_id": 1}, [], {}),
        (None, {"eos_token_id": [9], "bos_token_id": 1, "other": 0}, [], {"eos_token_id": [9], "bos_token_id": 1}),
        (None, {"pad_token_id": 0}, [7], {"pad_token_id": 0, "eos_token_id": [7]}),
    ],
)
def test_end_tokens(
    generation: dict[str, Any] | None, config: dict[str, Any], added: list[int], expected: dict[str, Any]
) -> None:
    assert with_end_tokens(generation, config, added) == expected
