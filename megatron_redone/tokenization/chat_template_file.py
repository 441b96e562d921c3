"""Where a model's chat template and its special tokens stand on disk, as transformers looks for them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import ADDITIONAL_TEMPLATES

# The names by which a template knows special tokens (`SPECIAL_TOKENS_ATTRIBUTES` of transformers).
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class ChatTemplateFile:
    """The text of a model's chat template.

    Attributes:
        text: In Jinja.
        with_tools: The text for conversations with tools; mostly the same.
        origin: Where it was found.
    """

    text: str
    with_tools: str
    origin: str


def find_chat_template(folder: Path, path: str | None) -> ChatTemplateFile:
    """The template at a path or, without one, the tokenizer's own.

    Args:
        folder: Of the tokenizer: chat_template.jinja there goes before tokenizer_config.json.
        path: A file that holds a template.

    Raises:
        UserError: there is none.
    """
    if path is not None:
        text = _read_text(Path(path), "chat_template")
        return ChatTemplateFile(text, text, path)
    found = own_templates(folder)
    if "default" not in found:
        known = f" (it has {', '.join(found)}, none of them 'default')" if found else ""
        raise UserError(f"{folder}: the tokenizer has no chat template{known}; name one with chat_template=FILE")
    return ChatTemplateFile(found["default"], found.get("tool_use", found["default"]), str(folder))


def own_templates(folder: Path) -> dict[str, str]:
    """The chat templates of a tokenizer by their names; `default` and `tool_use` are those that transformers takes.

    Files go before tokenizer_config.json, as in transformers.
    """
    files = {"default": folder / "chat_template.jinja"}
    files |= {file.stem: file for file in sorted((folder / ADDITIONAL_TEMPLATES).glob("*.jinja"))}
    found = {name: _read_text(file, name) for name, file in files.items() if file.is_file()}
    if found:
        return found
    own = _read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(own, list):
        return {entry["name"]: entry["template"] for entry in own}
    return {"default": own} if isinstance(own, str) else {}


def named_special_tokens(folder: Path) -> dict[str, str]:
    """`bos_token`, `eos_token` and the like, those that the tokenizer has."""
    config = {**_read_json(folder / "special_tokens_map.json"), **_read_json(folder / "tokenizer_config.json")}
    values = {name: config.get(name) for name in _NAMED_TOKENS}
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in values.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def declared_tokens(folder: Path) -> list[str]:
    """Tokens that tokenizer_config.json adds to the vocabulary, normally those of tokenizer.json."""
    declared = _read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
    return [token["content"] for token in declared.values() if isinstance(token, dict) and "content" in token]


def _read_text(file: Path, key: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{key}: {file} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{key}: {file} is not UTF-8 text") from None


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not valid JSON ({error})") from None
    return content if isinstance(content, dict) else {}
