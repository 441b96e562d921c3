"""The files of an exported Hugging Face directory that are not weights."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.conversion.dtypes import config_name
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_json
from megatron_redone.formats.hf_folder import HF_FILES
from megatron_redone.tokenization.tokenizer import Tokenizer

_GENERATION = "generation_config.json"


def write_hf_files(source: Path, output: Path, dtype: torch.dtype, end_tokens: Sequence[str]) -> None:
    """Copies configuration, tokenizer and chat template as they came, with the type of the weights put right.

    Args:
        source: A folder with config.json at least.
        output: The folder that is written.
        dtype: Of the exported weights.
        end_tokens: Tokens that end an answer, besides those that the model has already.

    Raises:
        UserError: a token is not in the vocabulary.
    """
    for name in HF_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, output / name)
    _write_config(output / "config.json", dtype)
    _write_generation_config(output, end_tokens)


def _write_config(file: Path, dtype: torch.dtype) -> None:
    content = _read(file)
    key = "dtype" if "dtype" in content else "torch_dtype"
    if content.get(key) != config_name(dtype):
        write_json(file, {**content, key: config_name(dtype)})


def _write_generation_config(folder: Path, end_tokens: Sequence[str]) -> None:
    """Adds end tokens to those that are there; where the model came without the file, config.json has them."""
    file, config = folder / _GENERATION, _read(folder / "config.json")
    exists = file.is_file()
    kept = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in config}
    content = _read(file) if exists else kept
    before = _ids(content.get("eos_token_id"))
    ends = list(dict.fromkeys([*before, *_token_ids(folder, end_tokens)]))
    if ends != before:
        content["eos_token_id"] = ends
    if not exists or ends != before:
        write_json(file, content)


def _token_ids(folder: Path, tokens: Sequence[str]) -> list[int]:
    if not tokens:
        return []
    tokenizer = Tokenizer(TokenizerConfig(path=str(folder)), fast=False)
    ids = {token: tokenizer.token_id(token) for token in tokens}
    absent = [token for token, number in ids.items() if number is None]
    if absent:
        raise UserError(f"end_tokens: {absent[0]!r} is not in the model's vocabulary")
    return [number for number in ids.values() if number is not None]


def _ids(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))
