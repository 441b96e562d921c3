"""The tokens that end an answer, in generation_config.json."""

from collections.abc import Mapping, Sequence
from typing import Any

_KEY = "eos_token_id"
_FROM_CONFIG = ("bos_token_id", _KEY, "pad_token_id")


def with_end_tokens(
    generation: Mapping[str, Any] | None, config: Mapping[str, Any], added: Sequence[int]
) -> dict[str, Any]:
    """The content of generation_config.json with more end tokens; those that are there stay, a list stays a list.

    Args:
        generation: As it came; None where the model has no such file: config.json has its tokens then.
        config: The content of config.json.
        added: Ids of tokens.
    """
    of_config = {name: config[name] for name in _FROM_CONFIG if name in config}
    content = dict(of_config if generation is None else generation)
    before = _ids(content.get(_KEY))
    missing = [token for token in added if token not in before]
    if missing:
        # A file that names none leaves it to config.json in some tools, but no longer once it names one.
        before = before or _ids(config.get(_KEY))
        content[_KEY] = list(dict.fromkeys([*before, *missing]))
    return content


def _ids(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
