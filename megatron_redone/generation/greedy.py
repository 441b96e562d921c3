"""Greedy answers in batches."""

from collections.abc import Sequence

import torch

from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits, batches_by_length, no_progress


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
        prompts: Ids, in any order; those of like length are computed together, padded at the left and masked.
        max_new_tokens: Tokens after which an answer is cut.
        limits: Of a batch; the new tokens count too.
        advance: Called after each batch.

    Returns:
        Texts without special tokens, in the order of the prompts.
    """
    answers = [""] * len(prompts)
    done = 0
    for batch in batches_by_length([len(prompt) + max_new_tokens for prompt in prompts], limits):
        for index, answer in zip(batch, _generate(model, [prompts[i] for i in batch], max_new_tokens), strict=True):
            answers[index] = answer
        done += len(batch)
        advance(done, len(prompts))
    return answers


@torch.inference_mode()
def _generate(model: LoadedModel, prompts: Sequence[list[int]], max_new_tokens: int) -> list[str]:
    from transformers import GenerationConfig

    longest = max(map(len, prompts))
    padding = model.end_ids[0] if model.end_ids else 0
    tokens = torch.full((len(prompts), longest), padding)
    mask = torch.zeros_like(tokens)
    for number, prompt in enumerate(prompts):
        tokens[number, longest - len(prompt) :] = torch.tensor(prompt)
        mask[number, longest - len(prompt) :] = 1
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=model.end_ids or None,
        pad_token_id=padding,
    )
    output = model.model.generate(
        tokens.to(model.device), attention_mask=mask.to(model.device), generation_config=settings
    )
    return [model.tokenizer.decode(_until(row, model.end_ids), skip_special_tokens=True)
            for row in output[:, longest:].tolist()]  # fmt: skip


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    at = next((i for i, number in enumerate(ids) if number in ends), len(ids))
    return ids[:at]
