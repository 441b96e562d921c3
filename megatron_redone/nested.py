"""Values that are nested as JSON is: dictionaries and lists, and what stands in them."""

from collections.abc import Iterator
from typing import Any

Place = tuple[str | int, ...]
"""The names and numbers that lead to a value."""


def texts_in(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every string in a value, with its place; keys are not among them."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, element in value.items():
            yield from texts_in(element, (*place, str(name)))
    elif isinstance(value, list):
        for number, element in enumerate(value):
            yield from texts_in(element, (*place, number))
