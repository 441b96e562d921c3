"""What a chat template leaves out: some have no place for a system prompt, for tools, or for what a tool answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from megatron_redone.tokenization.written_forms import written_forms

_MUST_APPEAR = ("system", "developer", "user", "tool")


def left_out(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None, text: str) -> str | None:
    """Names the first thing of which a rendered text has no trace, or None.

    Args:
        messages: With `role` and `content`. Answers of the assistant may be missing: templates drop their reasoning.
        tools: JSON schemas of functions.
        text: What the template made of them.
    """
    for message in messages:
        if message["role"] in _MUST_APPEAR and not is_written(message.get("content"), text):
            return f"a message of the {message['role']}"
    if any(tool.get("function", tool).get("name", "") not in text for tool in tools or ()):
        return "the tools"
    return None


def is_written(content: Any, text: str) -> bool:
    """Whether a text has a message's content, as it is or quoted; content that is no string is not looked for."""
    return not isinstance(content, str) or any(form in text for form in written_forms(content.strip()))
