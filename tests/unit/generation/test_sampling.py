"""Answers are those of transformers' `generate`, one prompt at a time."""

from typing import Any

import numpy as np
import torch

from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import BatchLimits
from megatron_redone.generation.sampling import Drawing, draw_answers, greedy_answers, left_padded, until_end

RANDOM = np.random.default_rng(1)
PROMPTS = [RANDOM.integers(0, 250, length).tolist() for length in (3, 19, 8, 8, 1)]


def test_greedy_answers_do_not_depend_on_the_batch(chat_model: LoadedModel, theirs: Any) -> None:
    expected = []
    for prompt in PROMPTS:
        output = theirs.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=9, pad_token_id=0, eos_token_id=chat_model.end_ids
        )
        expected.append(chat_model.tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True))
    assert len(set(expected)) > 1
    for limits in (BatchLimits(1, 1), BatchLimits(8, 10_000)):
        assert greedy_answers(chat_model, PROMPTS, 9, limits) == expected


def test_draws_repeat_with_the_seed_and_follow_the_temperature(chat_model: LoadedModel) -> None:
    def drawn(temperature: float, top_p: float = 1.0) -> list[list[list[int]]]:
        torch.manual_seed(3)
        how = Drawing(max_new_tokens=5, answers=8, temperature=temperature, top_p=top_p)
        return draw_answers(chat_model, PROMPTS[:2], how)

    hot = drawn(1.5)
    assert [len(answers) for answers in hot] == [8, 8] and drawn(1.5) == hot
    assert len({tuple(answer) for answer in hot[0]}) > 1
    # Of the least possible probability the likeliest token alone is drawn from.
    [[greedy], _] = draw_answers(chat_model, PROMPTS[:2], Drawing(max_new_tokens=5))
    assert drawn(1.5, top_p=1e-6)[0] == [greedy] * 8


def test_padding_stands_in_front_and_the_mask_hides_it() -> None:
    tokens, mask = left_padded(PROMPTS, 499)
    assert tokens.shape == mask.shape == (5, 19) and mask.sum(1).tolist() == [len(prompt) for prompt in PROMPTS]
    assert [row[kept.bool()].tolist() for row, kept in zip(tokens, mask, strict=True)] == PROMPTS
    assert (mask[:, -1] == 1).all() and (tokens[mask == 0] == 499).all()


def test_an_answer_ends_before_the_first_token_that_ends_it() -> None:
    assert until_end([4, 5, 2, 7, 5], [7, 2]) == [4, 5]
    assert until_end([4, 5], [7]) == [4, 5] and until_end([7], [7]) == [] == until_end([], [])
