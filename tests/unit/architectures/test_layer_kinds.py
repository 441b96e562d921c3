"""Keys that say which layers slide, against each other; values against transformers are in test_families.py."""

from typing import Any

import pytest

from megatron_redone.architectures import parse_architecture
from megatron_redone.errors import UserError

SMALL = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"model_type": "llama", "sliding_window": 16},
            "sliding_window is 16, but layers of model_type 'llama' have no",
        ),
        ({"model_type": "llama", "use_sliding_window": True}, "use_sliding_window is true, but layers of"),
        ({"model_type": "mistral", "use_sliding_window": False}, "is false, but sliding_window is 4096, which alone"),
        ({"model_type": "mistral", "use_sliding_window": True, "sliding_window": None}, "is true, but .* is None"),
        (
            {"model_type": "mistral", "layer_types": ["full_attention"] * 2},
            "layer_types is there, by which transformers 5",
        ),
        ({"model_type": "qwen2", "sliding_window": "16"}, "sliding_window is '16', a positive whole number or null"),
        ({"model_type": "qwen2", "sliding_window": 0}, "sliding_window is 0"),
        ({"model_type": "qwen2", "layer_types": ["full_attention"]}, "a list of num_hidden_layers 2 names"),
        (
            {"model_type": "qwen3", "layer_types": ["full_attention", "chunked_attention"]},
            "'chunked_attention' of layer 1",
        ),
        (
            {"model_type": "qwen3", "use_sliding_window": True, "layer_types": ["sliding_attention"] * 2},
            "says 'sliding_attention' of layer 0, the keys of the sliding window full_attention",
        ),
    ],
)
def test_contradictions_name_both(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_architecture({**SMALL, **keys})


def test_the_window_is_that_of_the_layers_that_have_one() -> None:
    window = {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 16}
    kinds = ["full_attention", "sliding_attention"]
    found = parse_architecture({**SMALL, **window, "max_window_layers": 1, "layer_types": kinds})
    assert found.sliding_window == 16
    assert parse_architecture({**SMALL, **window}).sliding_window is None, "28 layers see everything"
