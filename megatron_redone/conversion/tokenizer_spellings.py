"""tokenizer_config.json in a spelling by which transformers 4 and 5 read the same tokenizer.

The truth is tokenizer.json. Both versions read it as it is under the class `PreTrainedTokenizerFast`; under the class
of a family, 5 makes the tokenizer anew from the vocabulary and splits texts by a rule of that class.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_redone.formats.atomic import write_json, write_text
from megatron_redone.formats.hf_folder import ADDITIONAL_TEMPLATES
from megatron_redone.tokenization.chat_template_file import own_templates

_CONFIG = "tokenizer_config.json"
_ANY = "PreTrainedTokenizerFast"
_QWEN2 = ("Qwen2Tokenizer", "Qwen2TokenizerFast")
# That of transformers' Qwen2Tokenizer.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def spell_tokenizer(folder: Path, model_type: str) -> list[str]:
    """Rewrites tokenizer_config.json and the files of chat templates, where there is a tokenizer.json.

    Args:
        folder: Of the export, with the files as they came.
        model_type: Of config.json.

    Returns:
        Lines that tell what the versions read otherwise all the same, or what had to be changed.
    """
    if not (folder / "tokenizer.json").is_file():
        return []
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    file = folder / _CONFIG
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    content, told = spell_tokenizer_config(before, tokenizer, model_type)
    templates = own_templates(folder)
    if templates:
        content["chat_template"] = _in_one_key(templates)
        write_templates(folder, templates)
    if content != before:
        write_json(file, content)
    return told


def spell_tokenizer_config(
    content: Mapping[str, Any], tokenizer: Mapping[str, Any], model_type: str
) -> tuple[dict[str, Any], list[str]]:
    """The content of tokenizer_config.json for both versions, and what is to be told.

    Args:
        content: As it came.
        tokenizer: The content of tokenizer.json.
        model_type: Of config.json.
    """
    told = []
    spelled = {name: value for name, value in content.items() if name not in ("auto_map", "backend")}
    is_qwen2 = splits_as_qwen2(tokenizer)
    if "tokenizer_class" in content and not (is_qwen2 and content["tokenizer_class"] in _QWEN2):
        spelled["tokenizer_class"] = _ANY
    if model_type == "qwen2" and not is_qwen2:
        told.append("tokenizer.json: transformers 5 splits texts of a qwen2 by Qwen2's own rule and gives other ids")
    if "add_prefix_space" in (tokenizer.get("pre_tokenizer") or {}):
        # 4.57 overrides it by this key, which is false where it is missing.
        spelled["add_prefix_space"] = tokenizer["pre_tokenizer"]["add_prefix_space"]
    is_bpe = tokenizer["model"].get("type") == "BPE"
    if content.get("clean_up_tokenization_spaces") and is_bpe:
        told.append("clean_up_tokenization_spaces: false, as transformers 5 reads it; 4 would take spaces from answers")
    # Where it is missing, 4.45 takes true and the others false.
    spelled["clean_up_tokenization_spaces"] = bool(content.get("clean_up_tokenization_spaces")) and not is_bpe
    return _with_older_extra_tokens(spelled), told


def splits_as_qwen2(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json is one that transformers' Qwen2Tokenizer makes of its vocabulary."""
    normalizer, pre_tokenizer, model = (tokenizer.get(name) or {} for name in ("normalizer", "pre_tokenizer", "model"))
    steps = pre_tokenizer.get("pretokenizers") or [{}]
    plain = not any(model.get(name) for name in ("dropout", "unk_token", "ignore_merges", "byte_fallback"))
    return (
        (model.get("type"), normalizer.get("type"), plain) == ("BPE", "NFC", True)
        and [step.get("type") for step in steps] == ["Split", "ByteLevel"]
        and (steps[0]["pattern"], steps[0]["behavior"], steps[0]["invert"])
        == ({"Regex": _QWEN2_SPLIT}, "Isolated", False)
        and (steps[1]["add_prefix_space"], steps[1]["use_regex"]) == (False, False)
    )


def write_templates(folder: Path, templates: Mapping[str, str]) -> None:
    """Writes chat templates as files, which 4.57 and 5 read before anything else."""
    for name, text in templates.items():
        write_text(_template_file(folder, name), text)


def _template_file(folder: Path, name: str) -> Path:
    if name == "default":
        return folder / "chat_template.jinja"
    (folder / ADDITIONAL_TEMPLATES).mkdir(exist_ok=True)
    return folder / ADDITIONAL_TEMPLATES / f"{name}.jinja"


def _in_one_key(templates: Mapping[str, str]) -> str | list[dict[str, str]]:
    """As 4.45 reads them, which knows no files."""
    if templates.keys() == {"default"}:
        return templates["default"]
    return [{"name": name, "template": text} for name, text in templates.items()]


def _with_older_extra_tokens(content: dict[str, Any]) -> dict[str, Any]:
    """A list under the name of 5 stops 4.57, which has a table of named tokens there; both read the older name."""
    extra = content.get("extra_special_tokens")
    if not isinstance(extra, list):
        return content
    rest = {name: value for name, value in content.items() if name != "extra_special_tokens"}
    return {**rest, "additional_special_tokens": [*dict.fromkeys([*rest.get("additional_special_tokens", []), *extra])]}
