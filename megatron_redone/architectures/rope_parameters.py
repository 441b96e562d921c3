"""The rotary part of a config.json, in both of transformers' spellings."""

from collections.abc import Mapping
from typing import Any

from megatron_redone.architectures.architecture import RotaryConfig
from megatron_redone.architectures.config_values import is_number, is_whole, shown
from megatron_redone.architectures.unsupported_model import UnsupportedModelError
from megatron_redone.errors import UserError

_NEW, _OLD = "rope_parameters", "rope_scaling"
_TRAINED_LENGTH = "original_max_position_embeddings"
# By kind: what it needs, and what it may have besides.
_NEEDED = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", _TRAINED_LENGTH),
    "yarn": ("factor",),
}
_OPTIONAL = {
    "yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", _TRAINED_LENGTH),
}


def read_rotary(content: Mapping[str, Any], *, head_dim: int, default_theta: float, max_length: int) -> RotaryConfig:
    """Reads `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (transformers 4), or both alike.

    transformers 5 takes `rope_scaling` where both are given, transformers 4 knows no other.

    Args:
        content: Of the config.json.
        head_dim: Size of a head.
        default_theta: Of the family, where the file gives none.
        max_length: `max_position_embeddings`, which yarn goes by where the file does not say what it needs.

    Raises:
        UserError: a number that the kind needs is missing, one that it does not know is there, or the two spellings
            do not say the same.
        UnsupportedModelError: another kind, or heads that are rotated in part.
    """
    if head_dim % 2:
        raise UserError(f"head_dim is {head_dim}, but channels are rotated in pairs; an even number was expected")
    _refuse_partial(content.get("partial_rotary_factor"))
    given = {name: _object(content, name) for name in (_NEW, _OLD)}
    read = [
        _reading(parameters, content, head_dim, default_theta, max_length)
        for parameters in [value for value in given.values() if value] or [{}]
    ]
    if read[0] != read[-1]:
        raise UserError(
            f"{_NEW} and {_OLD} do not say the same ({shown(given[_NEW])} and {shown(given[_OLD])}, with rope_theta "
            f"{content.get('rope_theta', 'left out')}); leave one of them out, or put both right"
        )
    return read[0]


def _object(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The kind is called `type` by early releases."""
    value = content.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{name} is {shown(value)}, an object was expected")
    nested = sorted(key for key in value if isinstance(value[key], dict))
    if nested:
        raise UnsupportedModelError(f"{name} holds settings for single kinds of layers ({nested[0]}); not supported")
    _agreed(f"type and rope_type in {name}", value.get("type"), value.get("rope_type"))
    return value


def _reading(
    parameters: Mapping[str, Any], content: Mapping[str, Any], head_dim: int, default_theta: float, max_length: int
) -> RotaryConfig:
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if not isinstance(kind, str) or kind not in _NEEDED:
        raise UnsupportedModelError(f"rope_type {kind!r} is not supported; supported are {', '.join(_NEEDED)}")
    theta = _agreed("rope_theta", parameters.get("rope_theta"), content.get("rope_theta"))
    if theta is None and ("rope_theta" in content or "rope_theta" in parameters):
        raise UserError("rope_theta is null, a number above 1 was expected")
    scaling = _scaling(kind, parameters)
    if kind == "yarn":
        scaling.setdefault(_TRAINED_LENGTH, max_length)
    if kind in ("yarn", "llama3"):
        _agreed(_TRAINED_LENGTH, scaling[_TRAINED_LENGTH], content.get(_TRAINED_LENGTH))
    return RotaryConfig(head_dim=head_dim, theta=_theta(theta, default_theta), kind=kind, scaling=scaling)


def _theta(given: Any, default: float) -> float:
    theta = default if given is None else given
    if not is_number(theta) or theta <= 1:
        raise UserError(f"rope_theta is {shown(theta)}, a number above 1 was expected")
    return float(theta)


def _scaling(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs to a kind, and nothing else: transformers would ignore the rest."""
    numbers = {key: value for key, value in parameters.items() if key not in ("type", "rope_type", "rope_theta")}
    _refuse_partial(numbers.pop("partial_rotary_factor", None))
    for name in _NEEDED[kind]:
        if not is_number(numbers.get(name)):
            raise UserError(f"rope_type '{kind}' needs the number {name}, which is {shown(numbers.get(name))}")
    known = (*_NEEDED[kind], *_OPTIONAL.get(kind, ()))
    for name, value in numbers.items():
        if name not in known:
            raise UserError(f"{name} means nothing for rope_type '{kind}'; leave it out, or put rope_type right")
        if not _may_be(name, value):
            raise UserError(f"{name} is {shown(value)}, which is none of its values for rope_type '{kind}'")
    _check_order(numbers, kind)
    return numbers


def _refuse_partial(factor: Any) -> None:
    if factor is not None and (factor is True or factor != 1):
        raise UnsupportedModelError(f"partial_rotary_factor is {shown(factor)}; only 1 is supported")


def _may_be(name: str, value: Any) -> bool:
    if name == "truncate":
        return isinstance(value, bool)
    if name == _TRAINED_LENGTH:
        return is_whole(value) and 0 < value < 2**31
    return value is None or (is_number(value) and value > 0)


def _check_order(numbers: Mapping[str, Any], kind: str) -> None:
    """Two numbers of which one must be the larger; transformers warns at most, and computes nonsense."""
    pairs = {"llama3": {"low_freq_factor": 1, "high_freq_factor": 4}, "yarn": {"beta_slow": 1, "beta_fast": 32}}
    if kind not in pairs:
        return
    (low_name, low), (high_name, high) = ((name, numbers.get(name) or pairs[kind][name]) for name in pairs[kind])
    if low >= high:
        raise UserError(f"{low_name} {low} is not below {high_name} {high}; put them right")


def _agreed(name: str, one: Any, other: Any) -> Any:
    """The value that is given once, or twice alike."""
    if one is not None and other is not None and one != other:
        raise UserError(f"{name}: {shown(one)} and {shown(other)} contradict each other; leave one out")
    return other if one is None else one
