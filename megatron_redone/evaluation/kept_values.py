"""Lines of JSON that hold results and responses, numbers among them that JSON has no word for.

A model whose weights or activations are not finite answers with NaN and infinities. They are kept as
`{"not_finite": "nan"}` (or `inf`, `-inf`), so that what is read is what was computed; a text "nan" stays a text.
"""

import math
from typing import Any

import orjson

_NAME = "not_finite"


def to_line(value: Any) -> bytes:
    """Anything that JSON holds, NaN and infinities too, as one line without its end."""
    return orjson.dumps(_marked(value))


def from_line(line: bytes) -> Any:
    """What `to_line` was given; a tuple comes back as a list.

    Raises:
        ValueError: it is no JSON.
    """
    value = orjson.loads(line)
    return _unmarked(value) if _NAME.encode() in line else value


def _marked(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {_NAME: str(float(value))}
    if isinstance(value, dict):
        return {name: _marked(each) for name, each in value.items()}
    return [_marked(each) for each in value] if isinstance(value, list | tuple) else value


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_NAME} and value[_NAME] in ("nan", "inf", "-inf"):
            return float(value[_NAME])
        return {name: _unmarked(each) for name, each in value.items()}
    return [_unmarked(each) for each in value] if isinstance(value, list) else value
