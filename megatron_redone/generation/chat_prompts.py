"""Messages and pairs as the token ids that a model is to see."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import Messages
from megatron_redone.tokenization.left_out import left_out

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RenderedPair:
    """A pair as ids: the prompt that both responses share, and the responses behind it."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


@dataclass(frozen=True)
class TemplateInputs:
    """What a chat template reads beside the messages.

    Attributes:
        tools: JSON schemas of the functions that the assistant may call, or None.
        variables: Its variables, by name; none is called as an argument of transformers' `apply_chat_template`.
    """

    tools: list[Any] | None = None
    variables: dict[str, Any] = field(default_factory=dict)


_NOTHING_BESIDE = TemplateInputs()


def prompt_ids(tokenizer: Any, messages: Messages, beside: TemplateInputs = _NOTHING_BESIDE) -> list[int]:
    """A conversation by the chat template, up to where the assistant's answer begins.

    Args:
        tokenizer: transformers' own, with its chat template.
        messages: The conversation.
        beside: What the template reads besides.

    Raises:
        UserError: there is no chat template, or it does not take the messages.
    """
    return _encode(tokenizer, render(tokenizer, messages, beside=beside, add_generation_prompt=True))


def pair_ids(
    tokenizer: Any,
    prompt: str | Messages,
    responses: Sequence[str | Messages],
    beside: TemplateInputs = _NOTHING_BESIDE,
) -> RenderedPair:
    """A pair by the chat template, or as plain text with the end token behind each response.

    Where prompt and response meet, tokens may differ from those of the prompt alone; responses begin where they do,
    as in TRL's DPOTrainer. White space that a template writes after the token that ends an answer belongs to no one.

    Args:
        tokenizer: transformers' own.
        prompt: Text, or messages.
        responses: The chosen and the rejected one, of the same kind as the prompt.
        beside: What the template reads besides.

    Raises:
        UserError: see `prompt_ids`.
    """
    if isinstance(prompt, str):
        start = tokenizer(prompt)["input_ids"]
        sides = [tokenizer(prompt + _ended(tokenizer, str(side)))["input_ids"] for side in responses]
    else:
        start = prompt_ids(tokenizer, prompt, beside)
        sides = [
            _conversation_ids(tokenizer, prompt + list(side), beside)  # type: ignore[arg-type]
            for side in responses
        ]
    shared = min(_common_prefix(start, side) for side in sides)
    return RenderedPair(start[:shared], sides[0][shared:], sides[1][shared:])


def answer_ids(tokenizer: Any, messages: Messages, answer: str) -> tuple[list[int], list[int]]:
    """A prompt and an assistant's answer to it, parted as in `pair_ids`; the end of the turn counts as the answer's.

    Raises:
        UserError: see `prompt_ids`.
    """
    start = prompt_ids(tokenizer, messages)
    whole = _conversation_ids(tokenizer, [*messages, {"role": "assistant", "content": answer}])
    shared = _common_prefix(start, whole)
    return whole[:shared], whole[shared:]


def _ended(tokenizer: Any, response: str) -> str:
    end = tokenizer.eos_token or ""
    return response if response.endswith(end) else response + end


def _conversation_ids(tokenizer: Any, messages: Messages, beside: TemplateInputs = _NOTHING_BESIDE) -> list[int]:
    return _encode(tokenizer, render(tokenizer, messages, beside=beside).rstrip())


def render(
    tokenizer: Any,
    messages: Messages,
    *,
    thinks: bool = False,
    beside: TemplateInputs = _NOTHING_BESIDE,
    **options: Any,
) -> str:
    """A conversation as text; that the template leaves something out of it is told once for a model.

    Args:
        tokenizer: transformers' own, with its chat template.
        messages: The conversation.
        thinks: Whether a template that knows of thinking aloud (Qwen3's) is to let the model think; others do not look.
        beside: What the template reads besides; an `enable_thinking` in it goes before `thinks`.
        options: Further ones of transformers' `apply_chat_template`.

    Raises:
        UserError: there is no chat template, or it does not take the messages.
    """
    name = tokenizer.name_or_path
    if tokenizer.chat_template is None:
        raise UserError(f"{name}: the model has no chat template; name one with chat_template=FILE.jinja")
    from jinja2 import TemplateError  # apply_chat_template needs it as well

    variables = {"enable_thinking": thinks, **beside.variables}
    try:
        text = tokenizer.apply_chat_template(messages, tools=beside.tools, tokenize=False, **variables, **options)
    except TemplateError as error:
        beginning = messages[0]["content"][:60]
        raise UserError(f"{name}: its chat template does not take the messages {beginning!r}...: {error}") from None
    if missing := left_out(messages, beside.tools, text):
        _tell(name, missing)
    return text


@cache  # once for a model
def _tell(name: str, missing: str) -> None:
    log.warning("%s: its chat template leaves out %s: the model answers without seeing that", name, missing)


def _encode(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _common_prefix(one: list[int], other: list[int]) -> int:
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))
