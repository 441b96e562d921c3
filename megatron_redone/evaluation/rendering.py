"""Messages and pairs as the token ids that a model is to see."""

from dataclasses import dataclass
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.evaluation.examples import Messages, PairExample
from megatron_redone.evaluation.hf_model import LoadedModel


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


def pair_ids(model: LoadedModel, pair: PairExample) -> RenderedPair:
    """A pair by the chat template, or as plain text with the end token behind each response.

    Where prompt and response meet, tokens may differ from those of the prompt alone; responses begin where they do,
    as in TRL's DPOTrainer. White space that a template writes after the token that ends an answer belongs to no one.

    Raises:
        UserError: see `prompt_ids`.
    """
    if isinstance(pair.prompt, str):
        prompt = model.tokenizer(pair.prompt)["input_ids"]
        sides = [model.tokenizer(pair.prompt + _ended(model, str(side)))["input_ids"] for side in _responses(pair)]
    else:
        prompt = prompt_ids(model, pair.prompt)
        sides = [_encode(model, _render(model, pair.prompt + list(side)).rstrip()) for side in _responses(pair)]  # type: ignore[arg-type]
    shared = min(_common_prefix(prompt, side) for side in sides)
    return RenderedPair(prompt[:shared], sides[0][shared:], sides[1][shared:])


def _responses(pair: PairExample) -> tuple[str | Messages, str | Messages]:
    return pair.chosen, pair.rejected


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
