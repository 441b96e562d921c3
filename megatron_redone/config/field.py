"""How a configuration dataclass declares its keys, and what a key says about itself."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

_REQUIRED: Any = object()
_METADATA = "key"


@dataclass(frozen=True, kw_only=True)
class KeyFacts:
    """What a key says about itself, beside its type and default.

    Attributes:
        help: One line, shown by `redone STAGE --help`.
        decides: Whether the value decides what comes out; False for what says how fast, where to, how verbosely.
        reads: Whether the value names what is read: a file, a folder, a dataset's prefix, a glob or a URL.
        or_hub: Whether it may as well be a name on the Hugging Face hub.
        writes: Whether the value names what is written: a file, a folder or a dataset's prefix. Where that lies
            decides nothing of what comes out.
        writes_beside: The ending of what is written beside the file that is read, where no key says where it goes.
        at_least: The least number allowed.
        above: The number that the value must exceed.
        at_most: The greatest number allowed.
        below: The number that the value must stay under.
        formerly: The key's name in earlier versions, for the line that tells of the new one.
    """

    help: str
    decides: bool = True
    reads: bool = False
    or_hub: bool = False
    writes: bool = False
    writes_beside: str | None = None
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    formerly: str | None = None


def key(help: str, default: Any = _REQUIRED, **facts: Any) -> Any:
    """Declares one configuration key.

    Args:
        help: One line, shown by `redone STAGE --help`.
        default: The value where none is given. A list or a dataclass type is made anew for each
            configuration. Without a default the key is required.
        facts: The other attributes of `KeyFacts`.
    """
    metadata = {_METADATA: KeyFacts(help=help, **facts)}
    if default is _REQUIRED:
        return field(metadata=metadata)
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def range_text(facts: KeyFacts) -> str:
    """The numbers that are allowed, in words: `at least 1`; empty where any is."""
    bounds = {"at least": facts.at_least, "above": facts.above, "at most": facts.at_most, "below": facts.below}
    return ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)


def out_of_range(facts: KeyFacts, value: Any) -> str | None:
    """Says how a number is not one that is allowed; None where it is, and for everything that is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        return f"{value} is not a finite number"
    if facts.at_least is not None and value < facts.at_least:
        return f"{value} is less than {facts.at_least:g}"
    if facts.above is not None and value <= facts.above:
        return f"{value} is not above {facts.above:g}"
    if facts.at_most is not None and value > facts.at_most:
        return f"{value} is more than {facts.at_most:g}"
    if facts.below is not None and value >= facts.below:
        return f"{value} is not below {facts.below:g}"
    return None


def facts_of(field: dataclasses.Field) -> KeyFacts:
    """What a field's declaration says about it."""
    return field.metadata.get(_METADATA) or KeyFacts(help="")
