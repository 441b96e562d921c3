"""Variables of a chat template, written into its text.

A template is rendered with variables that its text does not hold (`enable_thinking`). Who gets the text alone would
render something else; with the variables as its defaults it is the same, and whoever passes others still can.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from megatron_redone.formats.manifest import ChatTemplateRecord
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile


def template_record(
    template: ChatTemplateFile, variables: Mapping[str, Any], special_tokens: Mapping[str, str]
) -> ChatTemplateRecord:
    """What a manifest says of a template: its texts, and of all variables those that they read."""
    texts = f"{template.text}\n{template.with_tools}"
    return ChatTemplateRecord(
        text=template.text,
        with_tools=template.with_tools if template.with_tools != template.text else None,
        variables={name: value for name, value in variables.items() if _is_read(name, texts)},
        special_tokens={name: token for name, token in special_tokens.items() if _is_read(name, texts)},
    )


def with_variables(text: str, defaults: Mapping[str, Any], fixed: Mapping[str, Any]) -> str:
    """The text of a template that sets variables by itself.

    Args:
        text: In Jinja.
        defaults: What a variable is where nobody passes it.
        fixed: What a variable is in any case: those that a tokenizer always passes, such as `bos_token`.
    """
    lines = [
        f"{{%- if {name} is not defined %}}{{%- set {name} = {_literal(value)} %}}{{%- endif %}}\n"
        for name, value in defaults.items()
        if _is_read(name, text)
    ]
    lines += [f"{{%- set {name} = {_literal(value)} %}}\n" for name, value in fixed.items() if _is_read(name, text)]
    # The line break after a block is no part of what a template renders, so that the text begins as it did.
    return "".join(lines) + text


def _is_read(name: str, text: str) -> bool:
    return name.isidentifier() and re.search(rf"\b{name}\b", text) is not None


def _literal(value: Any) -> str:
    """A value in Jinja's spelling."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(str(key))}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
