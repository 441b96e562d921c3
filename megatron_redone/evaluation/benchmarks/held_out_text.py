"""Bits per byte of a file of texts."""

from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.evaluation.benchmarks.datasets import as_dataset
from megatron_redone.evaluation.examples import read_texts

_ALL = 1 << 40


def load(*, data: str | None = None, text_key: str = "text", **_: Any) -> dict[str, Any]:
    """Texts under a key of JSONL files.

    Raises:
        UserError: no data, or not one record that can be used.
    """
    if data is None:
        raise UserError("bits_per_byte: its data has no place; name a JSONL file with data=FILE")
    return as_dataset([{"text": example.text} for example in read_texts(data, text_key, None, _ALL, 0).examples])
