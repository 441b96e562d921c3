"""Answers of a model, token by token: the likeliest, or drawn. B rows of a batch, L tokens of the longest prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits, batches_by_length, no_progress


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How answers are drawn.

    Attributes:
        max_new_tokens: Tokens after which an answer is cut.
        answers: To each prompt.
        temperature: 0 takes the likeliest token every time.
        top_p: The least probability of the tokens that are drawn from.
    """

    max_new_tokens: int
    answers: int = 1
    temperature: float = 0.0
    top_p: float = 1.0


def greedy_answers(
    model: LoadedModel,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    limits: BatchLimits,
    advance: Advance = no_progress,
) -> list[str]:
    """The likeliest continuation, token by token, of each prompt.

    Args:
        model: Which one.
        prompts: Ids, in any order; those of like length are computed together.
        max_new_tokens: Tokens after which an answer is cut.
        limits: Of a batch; the new tokens count too.
        advance: Called after each batch.

    Returns:
        Texts without special tokens, in the order of the prompts.
    """
    texts = [""] * len(prompts)
    done = 0
    for batch in batches_by_length([len(prompt) + max_new_tokens for prompt in prompts], limits):
        drawn = draw_answers(model, [prompts[i] for i in batch], Drawing(max_new_tokens=max_new_tokens))
        for index, [answer] in zip(batch, drawn, strict=True):
            texts[index] = model.tokenizer.decode(answer, skip_special_tokens=True)
        done += len(batch)
        advance(done, len(prompts))
    return texts


@torch.inference_mode()
def draw_answers(model: LoadedModel, prompts: Sequence[list[int]], drawing: Drawing) -> list[list[list[int]]]:
    """The tokens of every prompt's answers, without the prompt and without the token that ends an answer.

    One batch; a draw takes its random numbers from torch's own generator.
    """
    tokens, mask = left_padded(prompts, _padding(model))
    output = model.model.generate(
        tokens.to(model.device), attention_mask=mask.to(model.device), generation_config=_settings(model, drawing)
    )
    answers = [until_end(row, model.end_ids) for row in output[:, tokens.shape[1] :].tolist()]
    return [answers[at : at + drawing.answers] for at in range(0, len(answers), drawing.answers)]


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
