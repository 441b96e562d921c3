"""The files of an exported Hugging Face directory that are not weights."""

import json
import logging
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from megatron_redone.architectures import Architecture
from megatron_redone.architectures.json_object import read_json_object
from megatron_redone.config.tokenizer import TokenizerConfig
from megatron_redone.conversion.config_spellings import read_otherwise, spell_config
from megatron_redone.conversion.end_tokens import with_end_tokens
from megatron_redone.conversion.tokenizer_spellings import spell_tokenizer
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_json
from megatron_redone.formats.hf_folder import hf_files
from megatron_redone.tokenization.chat_template import ChatTemplate
from megatron_redone.tokenization.chat_template_file import own_templates
from megatron_redone.tokenization.tokenizer import Tokenizer

log = logging.getLogger(__name__)

_GENERATION = "generation_config.json"
_TOKENIZER = "tokenizer.json"


def write_hf_files(
    source: Path, output: Path, architecture: Architecture, dtype: torch.dtype, end_tokens: Sequence[str]
) -> None:
    """Writes everything that transformers reads besides weights, so that its versions 4 and 5 read the same model.

    What only some of them read is told.

    Args:
        source: A folder with config.json at least.
        output: The folder that is written.
        architecture: What config.json describes.
        dtype: Of the exported weights.
        end_tokens: Tokens that end an answer, besides those that the model has already.

    Raises:
        UserError: a token is not in the vocabulary.
    """
    _check_parsable(source)
    for name in hf_files(source):
        (output / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, output / name)
    config = output / "config.json"
    write_json(config, spell_config(_read(config), architecture, dtype))
    told = [*read_otherwise(architecture), *spell_tokenizer(output, architecture.model_type)]
    for line in told:
        log.warning("%s: %s", output.name.removesuffix(".partial"), line)
    _write_generation_config(output, end_tokens)


def _check_parsable(folder: Path) -> None:
    """What leaves can be read: JSON, the tokenizer, the chat templates."""
    for name in hf_files(folder):
        if name.endswith(".json") and name != _TOKENIZER:
            read_json_object(folder / name)
    if (folder / _TOKENIZER).is_file():
        Tokenizer(TokenizerConfig(path=str(folder)), fast=False)
    for name, text in own_templates(folder).items():
        ChatTemplate(text, f"{folder}: the chat template {name!r}", {}, datetime.now())


def _write_generation_config(folder: Path, end_tokens: Sequence[str]) -> None:
    """Adds end tokens to those that are there; where the model came without the file, config.json has them."""
    file = folder / _GENERATION
    before = _read(file) if file.is_file() else None
    content = with_end_tokens(before, _read(folder / "config.json"), _token_ids(folder, end_tokens))
    if content != before:
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


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))
