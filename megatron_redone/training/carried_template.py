"""The chat template that a run's data was prepared with: its checkpoints carry it, and an export leaves with it."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from megatron_redone.config.data import DataSource
from megatron_redone.conversion.end_tokens import with_end_tokens
from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import ADDITIONAL_TEMPLATES
from megatron_redone.formats.manifest import ChatTemplateRecord, read_manifest
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile, named_special_tokens, own_templates
from megatron_redone.tokenization.chat_tokenizer import ChatTokenizer
from megatron_redone.tokenization.template_variables import template_record, with_variables

log = logging.getLogger(__name__)

_MODELS_OWN = "model"
_KEY = "data.chat_template_of"
_DEFAULT, _TOOL_USE = "default", "tool_use"


def template_of_data(
    sources: Sequence[DataSource], chosen: str | None, model: Path | None
) -> ChatTemplateRecord | None:
    """The template that all sources were prepared with, or that of the one which is chosen.

    Args:
        sources: Of conversations or pairs, what is held out included.
        chosen: The name of one of them, or `model`; None where they are to be alike.
        model: The folder of the model's tokenizer, or None.

    Returns:
        None where the model keeps its own: it was chosen, or no source says what it was prepared with.

    Raises:
        UserError: they differ and none is chosen, the chosen one is none of them, or its template was not kept.
    """
    if chosen == _MODELS_OWN:
        return None
    found = {source.label: _template(read_manifest(source.path) or {}, model) for source in sources}
    if chosen is not None and chosen not in found:
        raise UserError(f"{_KEY}: no source is called '{chosen}'; they are {', '.join(found)}, and '{_MODELS_OWN}'")
    wanted = {name: record for name, record in found.items() if record is not None and chosen in (None, name)}
    first = next(iter(wanted), None)
    other = next((name for name, record in wanted.items() if first is not None and record != wanted[first]), None)
    if other is not None:
        raise UserError(
            f"data: '{first}' and '{other}' were prepared with different chat templates or variables of them; prepare "
            f"them with the same, or say whose the model leaves with: {_KEY}={first}, or {_MODELS_OWN} for its own"
        )
    if first is not None and not wanted[first].text:
        raise UserError(
            f"data: '{first}' was prepared by a version that kept no chat template; prepare it again, or set "
            f"{_KEY}={_MODELS_OWN} to leave the model its own"
        )
    return None if first is None else wanted[first]


def _template(manifest: Mapping[str, Any], model: Path | None) -> ChatTemplateRecord | None:
    """That of a dataset; one without a text where an earlier version kept only its hash."""
    record, sha256 = manifest.get("chat_template"), manifest.get("chat_template_sha256")
    if record is not None:
        return ChatTemplateRecord(**record)
    if not sha256:
        return None
    variables = manifest.get("config", {}).get("template_variables") or {}
    own = own_templates(model) if model is not None else {}
    text = own.get(_DEFAULT, "")
    if hashlib.sha256(text.encode()).hexdigest() != sha256:
        return ChatTemplateRecord(text="", variables={"sha256": sha256, **variables})
    assert model is not None, "no folder, no template"
    template = ChatTemplateFile(text, own.get(_TOOL_USE, text), str(model))
    return template_record(template, variables, named_special_tokens(model))


def template_texts(record: ChatTemplateRecord, hf_files: Mapping[str, Path], model: Path | None) -> dict[str, str]:
    """The files by which a checkpoint carries a template; they take the place of all that `is_template` names.

    Args:
        record: The template.
        hf_files: The files of the model.
        model: The folder of its tokenizer, or None.

    Returns:
        Texts by their names in the model's folder: the template with its variables as defaults, the model's other
        named templates, and generation_config.json with the token that ends a turn.
    """
    own = own_templates(model) if model is not None else {}
    trained = _with_variables(record, named_special_tokens(model) if model is not None else {})
    others = {name: text for name, text in own.items() if name not in (_DEFAULT, _TOOL_USE)}
    if own and {**others, **trained} != own:
        log.info("chat template: the data was prepared with another than the model's; checkpoints carry the data's")
    texts = {_file_of(name): text for name, text in {**others, **trained}.items()}
    if "chat_template.json" in hf_files:  # where processors of earlier releases look for it
        texts["chat_template.json"] = json.dumps({"chat_template": trained[_DEFAULT]}, ensure_ascii=False)
    return {**texts, **_generation_config(trained, hf_files, model)}


def is_template(name: str) -> bool:
    """Whether a file of a model's folder holds a chat template."""
    return name.startswith("chat_template.") or name.startswith(f"{ADDITIONAL_TEMPLATES}/")


def _with_variables(record: ChatTemplateRecord, named: Mapping[str, str]) -> dict[str, str]:
    given = {**record.special_tokens, **record.variables}
    fixed = {name: value for name, value in given.items() if name in {*record.special_tokens, *named}}
    fixed = {name: value for name, value in fixed.items() if named.get(name) != value}
    defaults = {name: value for name, value in record.variables.items() if name not in named and name not in fixed}
    texts = {_DEFAULT: record.text, _TOOL_USE: record.with_tools}
    return {name: with_variables(text, defaults, fixed) for name, text in texts.items() if text is not None}


def _generation_config(
    templates: Mapping[str, str], hf_files: Mapping[str, Path], model: Path | None
) -> dict[str, str]:
    if model is None or not (model / "tokenizer.json").is_file():
        return {}
    source = ChatTemplateFile(templates[_DEFAULT], templates.get(_TOOL_USE, templates[_DEFAULT]), str(model))
    end = ChatTokenizer(str(model), source, {}, datetime.now()).end_of_turn()
    if end is None:
        return {}
    contents = {
        name: json.loads(hf_files[name].read_text(encoding="utf-8")) if name in hf_files else None
        for name in ("generation_config.json", "config.json")
    }
    content = with_end_tokens(contents["generation_config.json"], contents["config.json"] or {}, [end])
    return {"generation_config.json": json.dumps(content, indent=2, ensure_ascii=False) + "\n"}


def _file_of(name: str) -> str:
    return "chat_template.jinja" if name == _DEFAULT else f"{ADDITIONAL_TEMPLATES}/{name}.jinja"
