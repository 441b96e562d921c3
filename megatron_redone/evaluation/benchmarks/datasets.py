"""Items as the harness takes them."""

from collections.abc import Sequence
from typing import Any


def as_dataset(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One split, `test`."""
    from datasets import Dataset

    return {"test": Dataset.from_list(list(items))}
