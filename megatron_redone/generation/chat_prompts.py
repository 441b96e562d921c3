"""Messages and pairs as the token ids that a model is to see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.records import Messages
from megatron_redone.generation.hf_model import LoadedModel


@dataclass(frozen=True)
class RenderedPair:
    """A pair as ids: the prompt that both responses share, and the responses behind it."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def prompt_ids(model: LoadedModel, messages: Messages) -> list[int]:
    """A conversation by the chat template, up to where the assistant's answer begins.

    Raises:
        UserError: the model has no chat template, or its template refuses the messages.
    """
    return _encode(model, _render(model, messages, add_generation_prompt=True))


def pair_ids(model: LoadedModel, prompt: str | Messages, responses: Sequence[str | Messages]) -> RenderedPair:
    """A pair by the chat template, or as plain text with the end token behind each response.

    Where prompt and response meet, tokens may differ from those of the prompt alone; responses begin where they do,
    as in TRL's DPOTrainer. White space that a template writes after the token that ends an answer belongs to no one.

    Args:
        model: Whose tokenizer and template are used.
        prompt: Text, or messages.
        responses: The chosen and the rejected one, of the same kind as the prompt.

    Raises:
        UserError: see `prompt_ids`.
    """
    if isinstance(prompt, str):
        start = model.tokenizer(prompt)["input_ids"]
        sides = [model.tokenizer(prompt + _ended(model, str(side)))["input_ids"] for side in responses]
    else:
        start = prompt_ids(model, prompt)
        sides = [_encode(model, _render(model, prompt + list(side)).rstrip()) for side in responses]  # type: ignore[arg-type]
    shared = min(_common_prefix(start, side) for side in sides)
    return RenderedPair(start[:shared], sides[0][shared:], sides[1][shared:])


def _ended(model: LoadedModel, response: str) -> str:
    end = model.tokenizer.eos_token or ""
    return response if response.endswith(end) else response + end


def _render(model: LoadedModel, messages: Messages, **options: Any) -> str:
    if model.tokenizer.chat_template is None:
        raise UserError(f"{model.label}: the model has no chat template; name one with chat_template=FILE.jinja")
    from jinja2 import TemplateError  # apply_chat_template needs it as well

    try:
        # Templates that know of thinking aloud (Qwen3's) are told to answer at once; the others do not look.
        return model.tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False, **options)
    except TemplateError as error:
        beginning = messages[0]["content"][:60]
        raise UserError(f"{model.label}: its chat template refuses the messages {beginning!r}...: {error}") from None


def _encode(model: LoadedModel, text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def _common_prefix(one: list[int], other: list[int]) -> int:
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))
