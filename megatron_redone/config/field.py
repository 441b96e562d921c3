"""How a configuration dataclass declares its keys."""

from dataclasses import field
from typing import Any

_REQUIRED: Any = object()


def key(help: str, default: Any = _REQUIRED) -> Any:
    """Declares one configuration key.

    Args:
        help: One line, shown by `redone STAGE --help`.
        default: The value where none is given. A list or a dataclass type is made anew for each
            configuration. Without a default the key is required.
    """
    metadata = {"help": help}
    if default is _REQUIRED:
        return field(metadata=metadata)
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)
