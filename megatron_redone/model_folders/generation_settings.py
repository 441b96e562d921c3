"""What a model folder says of the tokens that end an answer, in two files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_redone.architectures.config_values import is_whole, shown
from megatron_redone.architectures.json_object import read_json_object
from megatron_redone.errors import UserError

FILE = "generation_config.json"


def check_generation_settings(folder: Path, vocab_size: int | None) -> None:
    """Refuses end tokens that are none; transformers would ignore a file that it cannot read, without a word.

    Args:
        folder: The model folder.
        vocab_size: Rows of the embedding, where they are known.

    Raises:
        UserError: naming the file and the value.
    """
    for name in ("config.json", FILE):
        if name != FILE or (folder / FILE).is_file():
            for number in _end_tokens(folder / name, read_json_object(folder / name)):
                if number < 0 or (vocab_size is not None and number >= vocab_size):
                    raise UserError(f"{folder / name}: eos_token_id {number} is no token of vocab_size {vocab_size}")


def _end_tokens(file: Path, content: Mapping[str, Any]) -> list[int]:
    value = content.get("eos_token_id")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(map(is_whole, ids)):
        raise UserError(f"{file}: eos_token_id is {shown(value)}, a whole number, a list of them or null was expected")
    return ids
