"""Answers of a model, token by token: the likeliest, or drawn. B rows of a batch, L tokens of the longest prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import (
    Advance,
    BatchLimits,
    batches_by_length,
    no_progress,
    shared_prefix,
)
from megatron_redone.generation.shared_prefixes import PrefixGroup, group_by_prefix


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How answers are drawn.

    Attributes:
        max_new_tokens: Tokens after which an answer is cut.
        answers: To each prompt.
        temperature: 0 takes the likeliest token every time.
        top_p: The least probability of the tokens that are drawn from.
        stops: Texts that end an answer.
    """

    max_new_tokens: int
    answers: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    stops: tuple[str, ...] = ()


def greedy_answers(
    model: LoadedModel,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    limits: BatchLimits,
    advance: Advance = no_progress,
    stops: Sequence[str] = (),
    done: Callable[[Sequence[int], Sequence[str]], None] = lambda batch, texts: None,
) -> list[str]:
    """The likeliest continuation, token by token, of each prompt.

    Args:
        model: Which one.
        prompts: Ids, in any order; those of like length are computed together, and what many share once.
        max_new_tokens: Tokens after which an answer is cut.
        limits: Of a batch; the new tokens count too.
        advance: Called after each batch.
        stops: Texts before which an answer is cut.
        done: Called after each batch with the numbers of its prompts and their answers.

    Returns:
        Texts without special tokens, in the order of the prompts.
    """
    texts = [""] * len(prompts)
    drawing = Drawing(max_new_tokens=max_new_tokens, stops=tuple(stop for stop in stops if stop))
    count = 0
    for group in _prompt_groups(model, prompts):
        prefix = shared_prefix(model, prompts[group.members[0]], group)
        lengths = [len(prompts[i]) - group.length + max_new_tokens for i in group.members]
        for places in batches_by_length(lengths, limits.behind(group.length, max(lengths))):
            batch = [group.members[place] for place in places]
            rows = _Rows([prompts[i] for i in batch], group.length, prefix(len(batch)))
            for index, [answer] in zip(batch, _draw(model, rows, drawing), strict=True):
                texts[index] = cut_at(model.tokenizer.decode(answer, skip_special_tokens=True), drawing.stops)
            done(batch, [texts[i] for i in batch])
            count += len(batch)
            advance(count, len(prompts))
    return texts


def draw_answers(model: LoadedModel, prompts: Sequence[list[int]], drawing: Drawing) -> list[list[list[int]]]:
    """The tokens of every prompt's answers, without the prompt and without the token that ends an answer.

    One batch; a draw takes its random numbers from torch's own generator.
    """
    return _draw(model, _Rows(prompts, 0, None), drawing)


@dataclass(frozen=True)
class _Rows:
    """Prompts of a batch, and keys and values of the first tokens, which they share."""

    prompts: Sequence[list[int]]
    shared: int
    past: Any


def _prompt_groups(model: LoadedModel, prompts: Sequence[list[int]]) -> list[PrefixGroup]:
    """The last token of a prompt must be read to know the next."""
    if model.prefixes is None:
        return [PrefixGroup(0, list(range(len(prompts))))]
    return group_by_prefix(prompts, [len(prompt) - 1 for prompt in prompts])


@torch.inference_mode()
def _draw(model: LoadedModel, rows: _Rows, drawing: Drawing) -> list[list[list[int]]]:
    tokens, mask = left_padded([prompt[rows.shared :] for prompt in rows.prompts], _padding(model))
    shared = torch.tensor([rows.prompts[0][: rows.shared]], dtype=torch.int64).expand(len(tokens), -1)
    tokens, mask = torch.cat([shared, tokens], 1), torch.cat([torch.ones_like(shared), mask], 1)
    output = model.generate(
        tokens.to(model.device),
        mask.to(model.device),
        _settings(model, drawing),
        _Stops(model.tokenizer, drawing.stops, tokens.shape[1]) if drawing.stops else None,
        rows.past,
    )
    answers = [until_end(row, model.end_ids) for row in output[:, tokens.shape[1] :].tolist()]
    return [answers[at : at + drawing.answers] for at in range(0, len(answers), drawing.answers)]


@dataclass(frozen=True)
class _Stops:
    """Says of each row whether one of the texts that end an answer is in it."""

    tokenizer: Any
    stops: tuple[str, ...]
    begin: int

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, L] to bool [B]; only a tail is looked at, as every step is."""
        tail = max(self.begin, tokens.shape[1] - max(map(len, self.stops)) - 8)
        texts = self.tokenizer.batch_decode(tokens[:, tail:], skip_special_tokens=True)
        ended = [any(stop in text for stop in self.stops) for text in texts]
        return torch.tensor(ended, device=tokens.device)


def cut_at(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of the stops."""
    for stop in stops:
        text = text.split(stop, 1)[0] if stop else text
    return text


def left_padded(rows: Sequence[list[int]], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask, int64 [B, L], padded in front: all rows end in the last column."""
    longest = max(map(len, rows))
    tokens = [[padding] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(tokens), torch.tensor(mask)


def until_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    """What stands before the first of the tokens that end an answer."""
    at = next((i for i, number in enumerate(ids) if number in ends), len(ids))
    return ids[:at]


def _padding(model: LoadedModel) -> int:
    """Any token: the mask hides it in front of a prompt, and behind an answer's end nobody looks."""
    return model.end_ids[0] if model.end_ids else 0


def _settings(model: LoadedModel, drawing: Drawing) -> Any:
    from transformers import GenerationConfig

    how: dict[str, Any] = {"do_sample": False}
    if drawing.temperature > 0:
        how = {"do_sample": True, "temperature": drawing.temperature, "top_p": drawing.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=drawing.max_new_tokens,
        num_return_sequences=drawing.answers,
        eos_token_id=model.end_ids or None,
        pad_token_id=_padding(model),
        **how,
    )
