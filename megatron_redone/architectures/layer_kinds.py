"""Which layers of a model see all of a text, and which a window of it: keys that must agree."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from megatron_redone.architectures.config_values import is_whole, shown
from megatron_redone.architectures.unsupported_model import UnsupportedModelError
from megatron_redone.errors import UserError

_FULL, _SLIDING = "full_attention", "sliding_attention"


class Windows(Enum):
    """What a family's code does with `sliding_window`.

    `never` reads no such key; `all_layers` uses it wherever it is given; `upper_layers` uses it from layer
    `max_window_layers` on, where `use_sliding_window` is true.
    """

    never = "never"
    all_layers = "all_layers"
    upper_layers = "upper_layers"


def read_sliding_window(given: Mapping[str, Any], windows: Windows) -> int | None:
    """How many tokens the layers with the shortest sight look back; None where all see everything.

    Args:
        given: The keys of a config.json over the family's defaults.
        windows: What the family's code does with them.

    Raises:
        UserError: two keys contradict each other, or one of them is not read by the family's code.
        UnsupportedModelError: a key makes another family of it.
    """
    window = given.get("sliding_window")
    if window is not None and (not is_whole(window) or window < 1):
        raise UserError(f"sliding_window is {shown(window)}, a positive whole number or null was expected")
    kinds = _kinds(given, windows, window)
    _check_layer_types(given, kinds)
    return window if _SLIDING in kinds else None


def _kinds(given: Mapping[str, Any], windows: Windows, window: int | None) -> list[str]:
    """The kind of each layer, as the family's code takes it from everything but `layer_types`."""
    layers, switch = given["num_hidden_layers"], given.get("use_sliding_window")
    if windows is Windows.upper_layers:
        first = given["max_window_layers"] if switch and window is not None else layers
        return [_SLIDING if number >= first else _FULL for number in range(layers)]
    if windows is Windows.never:
        if window is not None or switch:
            named = f"sliding_window is {window}" if window is not None else "use_sliding_window is true"
            raise UserError(f"{named}, but layers of model_type '{given['model_type']}' have no window; leave it out")
        return [_FULL] * layers
    if "layer_types" in given:
        raise UnsupportedModelError(
            f"layer_types is there, by which transformers 5 takes model_type '{given['model_type']}' for another "
            "family; leave it out if all layers are the same"
        )
    if switch is not None and switch != (window is not None):
        raise UserError(
            f"use_sliding_window is {str(switch).lower()}, but sliding_window is {shown(window)}, which alone counts "
            f"for model_type '{given['model_type']}'; leave use_sliding_window out"
        )
    return [_FULL if window is None else _SLIDING] * layers


def _check_layer_types(given: Mapping[str, Any], kinds: list[str]) -> None:
    stated = given.get("layer_types")
    if stated is None or stated == kinds:
        return
    if not isinstance(stated, list) or len(stated) != len(kinds):
        raise UserError(f"layer_types is {shown(stated)}, a list of num_hidden_layers {len(kinds)} names was expected")
    number = next(number for number, kind in enumerate(kinds) if stated[number] != kind)
    raise UserError(
        f"layer_types says {shown(stated[number])} of layer {number}, the keys of the sliding window {kinds[number]}; "
        "leave layer_types out, or put sliding_window, use_sliding_window and max_window_layers right"
    )
