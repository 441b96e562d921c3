"""How templates write a value: as it is, or in JSON."""

import json
from typing import Any


def written_forms(value: Any) -> tuple[str, ...]:
    """Texts of which a rendered conversation has one, where it has a value; of a string without the quotes."""
    if isinstance(value, str):
        return (value, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1], repr(value)[1:-1])
    return (json.dumps(value), str(value))
