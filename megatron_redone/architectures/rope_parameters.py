"""The rotary part of a config.json, in both of transformers' spellings."""

from collections.abc import Mapping
from typing import Any

from megatron_redone.architectures.architecture import RotaryConfig
from megatron_redone.errors import UserError

_NEEDED = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor",),
}
_TRAINED_LENGTH = "original_max_position_embeddings"


def read_rotary(content: Mapping[str, Any], *, head_dim: int, default_theta: float, max_length: int) -> RotaryConfig:
    """Reads `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (transformers 4).

    Args:
        content: Of the config.json.
        head_dim: Size of a head.
        default_theta: Of the family, where the file gives none.
        max_length: `max_position_embeddings`, which some kinds go by where the file does not say what they need.

    Raises:
        UserError: a kind that is not supported, a number that it needs is missing, or the two spellings contradict
            each other.
    """
    parameters = _parameters(content)
    kind = parameters.pop("rope_type", None) or "default"
    theta = _agreed("rope_theta", parameters.pop("rope_theta", None), content.get("rope_theta"))
    if kind not in _NEEDED:
        raise UserError(f"rope_type '{kind}' is not supported; supported are {', '.join(_NEEDED)}")
    if parameters.get("partial_rotary_factor", content.get("partial_rotary_factor", 1.0)) not in (None, 1.0):
        raise UserError("partial_rotary_factor other than 1 is not supported")
    for name in _NEEDED[kind]:
        if not isinstance(parameters.get(name), (int, float)):
            raise UserError(f"rope_type '{kind}' needs the number {name}, which is {parameters.get(name)!r}")
    if kind in ("llama3", "yarn"):
        parameters[_TRAINED_LENGTH] = parameters.get(_TRAINED_LENGTH) or content.get(_TRAINED_LENGTH) or max_length
    return RotaryConfig(
        head_dim=head_dim,
        theta=float(default_theta if theta is None else theta),
        kind=kind,
        scaling=parameters,
    )


def _parameters(content: Mapping[str, Any]) -> dict[str, Any]:
    new, old = _object(content, "rope_parameters"), _object(content, "rope_scaling")
    for name in new.keys() & old.keys():
        _agreed(f"{name} in rope_parameters and rope_scaling", new[name], old[name])
    return old | new


def _object(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The kind is called `type` by early releases."""
    value = content.get(name) or {}
    if not isinstance(value, dict):
        raise UserError(f"{name} is {value!r}, an object was expected")
    kind = value.get("rope_type") or value.get("type")
    rest = {key: number for key, number in value.items() if key not in ("type", "rope_type")}
    return rest if kind is None else {"rope_type": kind, **rest}


def _agreed(name: str, one: Any, other: Any) -> Any:
    """The value that is given once, or twice alike."""
    if one is not None and other is not None and one != other:
        raise UserError(f"{name}: {one!r} and {other!r} contradict each other; leave one out")
    return other if one is None else one
