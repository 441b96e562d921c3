"""Values of a config.json, of the types that transformers' configuration classes ask for, or a line that says why not.

transformers 5 refuses other types itself; transformers 4 takes them, and fails later or computes something else.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from megatron_redone.errors import UserError

# No model has more; what is above is a slip, and would be allocated before anybody noticed.
_LARGEST_COUNT = 2**31 - 1


def check_types(content: Mapping[str, Any]) -> None:
    """Refuses values of keys that nothing is computed from, but that transformers would stumble over.

    Raises:
        UserError: naming the key and the type that was expected.
    """
    for name, (fits, expected) in _TYPES.items():
        if name in content and not fits(content[name]):
            raise UserError(f"{name} is {shown(content[name])}, {expected} was expected")


def count(given: Mapping[str, Any], name: str) -> int:
    """A positive whole number.

    Raises:
        UserError: it is something else, or larger than any model's.
    """
    value = given[name]
    if not is_whole(value) or value < 1:
        raise UserError(f"{name} is {shown(value)}, a positive whole number was expected")
    if value > _LARGEST_COUNT:
        raise UserError(f"{name} is {shown(value)}, more than any model has")
    return value


def fraction(given: Mapping[str, Any], name: str) -> float:
    """A number between 0 and 1, with a point: transformers' classes take no whole number there.

    Raises:
        UserError: it is something else.
    """
    value = given[name]
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise UserError(f"{name} is {shown(value)}, a number between 0 and 1, with a point, was expected")
    return value


def is_whole(value: Any) -> bool:
    """Whether it is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a number that a float64 holds; true and false are none."""
    if is_whole(value):
        return abs(value) < 2**63
    return isinstance(value, float) and math.isfinite(value)


def shown(value: Any) -> str:
    """A value for one line of text."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_whole_or_null(value: Any) -> bool:
    return value is None or is_whole(value)


def _is_fraction(value: Any) -> bool:
    return is_number(value) and 0 <= value < 1


def _are_ids(value: Any) -> bool:
    return _is_whole_or_null(value) or (isinstance(value, list) and all(map(is_whole, value)))


def _are_labels(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(str(key).isdecimal() for key in value))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(entry, str) for entry in value))


# By key: the types that transformers' classes declare for it, in any family.
_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{
        name: (_is_flag, "true or false")
        for name in ("tie_word_embeddings", "use_cache", "use_sliding_window", "attention_bias", "mlp_bias")
    },
    **{
        name: (_is_whole_or_null, "a whole number or null")
        for name in ("pad_token_id", "bos_token_id", "pretraining_tp", "num_labels")
    },
    "max_window_layers": (is_whole, "a whole number"),
    "eos_token_id": (_are_ids, "a whole number, a list of them or null"),
    "attention_dropout": (_is_fraction, "a fraction"),
    "auto_map": (_is_object, "an object"),
    "id2label": (_are_labels, "an object with numbers for keys"),
    "architectures": (_are_names, "a list of names"),
}
