"""Every key with values of every type: what transformers refuses is refused, and what it takes means the same here."""

import copy
from typing import Any

import pytest
from transformers import AutoConfig

from megatron_redone.architectures import Architecture, parse_architecture
from megatron_redone.errors import UserError
from tests.unit.architectures.test_families import FULL, NUMBERS, SUPPORTED, WINDOW, rotary, window

VALUES = (None, True, False, 0, 1, 2, -1, 0.0, 0.5, 1.0, 64.0, -0.5, "x", "2", [], [1], ["a"], {}, {"a": 1}, 10**19)
KEYS = (
    *NUMBERS,
    *("head_dim", "hidden_act", "rope_theta", "sliding_window", "use_sliding_window", "max_window_layers"),
    *("layer_types", "use_cache", "attention_bias", "mlp_bias", "attention_dropout", "architectures", "dtype"),
    *("torch_dtype", "bos_token_id", "eos_token_id", "pad_token_id", "pretraining_tp", "rope_scaling"),
    *("rope_parameters", "partial_rotary_factor", "original_max_position_embeddings", "id2label", "problem_type"),
)


def whole(family: str) -> dict[str, Any]:
    return {key: value for key, value in FULL.items() if family != "llama" or key not in WINDOW}


def transformers_reads(content: dict[str, Any]) -> Any:
    """Its configuration, or None where it raises."""
    try:
        return AutoConfig.for_model(**copy.deepcopy(content))
    except Exception:
        return None


def we_read(content: dict[str, Any]) -> Architecture | None:
    """The same of ours: a line, or an architecture, and nothing else."""
    try:
        return parse_architecture(content)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
        return None


@pytest.mark.parametrize("family", SUPPORTED)
@pytest.mark.parametrize("key", KEYS)
def test_no_value_is_read_that_transformers_refuses_or_reads_otherwise(key: str, family: str) -> None:
    taken = 0
    for value in VALUES:
        content = {"model_type": family, **whole(family), key: value}
        ours = we_read(content)
        if ours is None:
            continue
        taken += 1
        theirs = transformers_reads(content)
        assert theirs is not None, f"transformers refuses {key}={value!r}"
        assert {name: getattr(ours, name) for name in NUMBERS} == {name: getattr(theirs, name) for name in NUMBERS}
        rope = {name: theirs.rope_parameters[name] for name in theirs.rope_parameters if name in rotary(ours)}
        assert rotary(ours) == rope and theirs.rope_parameters.get("partial_rotary_factor", 1) == 1
        assert ours.sliding_window == window(theirs), f"{key}={value!r}"
    assert taken or key in ("layer_types", "dtype", "torch_dtype", "hidden_act", "hidden_size")
