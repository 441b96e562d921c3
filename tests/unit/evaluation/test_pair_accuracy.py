"""Preferences against ids of apply_chat_template and losses of transformers, one sequence at a time."""

import pytest

from megatron_redone.errors import UserError
from megatron_redone.evaluation.examples import PairExample
from megatron_redone.evaluation.metric_definitions import PREFERENCE_ACCURACY, PREFERENCE_ACCURACY_PER_TOKEN
from megatron_redone.evaluation.pair_accuracy import evaluate_pairs
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import BatchLimits
from tests.helpers import chat_models

LIMITS = BatchLimits(rows=3, tokens=400)


def _chat(question: str, good: str, bad: str, record: int) -> PairExample:
    prompt = [{"role": "system", "content": "Answer."}, {"role": "user", "content": question}]
    sides = [[{"role": "assistant", "content": text}] for text in (good, bad)]
    return PairExample(record, prompt, *sides)


PAIRS = [
    _chat("When does the ferry leave?", "At nine.", "No idea, bring a jacket, it's windy on deck.", 1),
    _chat("周末去了哪里？", "湖边的小店", "下次还来！", 4),
    _chat("What a day?", "3 trains late", "12 km on foot, and the best dumplings", 5),
]


def test_messages_are_scored_as_transformers_renders_them(chat_model: LoadedModel) -> None:
    found = evaluate_pairs(chat_model, PAIRS, max_tokens=256, limits=LIMITS)
    assert [result["record"] for result in found] == [1, 4, 5]
    tokenizer = chat_model.tokenizer
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    for pair, result in zip(PAIRS, found, strict=True):
        prompt = tokenizer.apply_chat_template(pair.prompt, add_generation_prompt=True, return_dict=False)
        for name in ("chosen", "rejected"):
            ids = tokenizer.apply_chat_template(pair.prompt + getattr(pair, name), return_dict=False)
            assert ids[: len(prompt)] == prompt and ids[-len(newline) :] == newline
            ids = ids[: -len(newline)]  # <|im_end|> is the last that counts
            losses = chat_models.token_losses(chat_model.model, ids)[len(prompt) - 1 :]
            assert result[name] == pytest.approx(-float(losses.sum()), rel=1e-5)
            assert result[f"{name}_tokens"] == len(losses)


def test_strings_end_with_the_end_token_as_in_trl(chat_model: LoadedModel) -> None:
    pair = PairExample(1, "The ferry leaves", " at nine", " at half past six")
    [found] = evaluate_pairs(chat_model, [pair], max_tokens=256, limits=LIMITS)
    prompt = chat_model.tokenizer(pair.prompt)["input_ids"]
    for name in ("chosen", "rejected"):
        ids = chat_model.tokenizer(pair.prompt + getattr(pair, name) + "<|im_end|>")["input_ids"]
        losses = chat_models.token_losses(chat_model.model, ids)[len(prompt) - 1 :]
        assert found[name] == pytest.approx(-float(losses.sum()), rel=1e-5)


def test_a_response_that_changes_the_prompts_last_token_counts_it(chat_model: LoadedModel) -> None:
    """'The ferry' has a token over the border of 'The fer' and 'ry'; both sides begin before it."""
    pair = PairExample(1, "The fer", "ry leaves", " x")
    [found] = evaluate_pairs(chat_model, [pair], max_tokens=256, limits=LIMITS)
    prompt, whole, other = (chat_model.tokenizer(t)["input_ids"]
                            for t in ("The fer", "The ferry leaves<|im_end|>", "The fer x<|im_end|>"))  # fmt: skip
    assert whole[: len(prompt)] != prompt, "the test needs a token over the border"
    shared = next(i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b)
    assert found["chosen_tokens"] == len(whole) - shared and found["rejected_tokens"] == len(other) - shared


def test_the_prompt_loses_its_beginning_where_a_side_is_too_long(chat_model: LoadedModel) -> None:
    [full] = evaluate_pairs(chat_model, PAIRS[:1], max_tokens=256, limits=LIMITS)
    [cut] = evaluate_pairs(chat_model, PAIRS[:1], max_tokens=40, limits=LIMITS)
    assert cut["shortened"] and not full["shortened"]
    assert cut["chosen_tokens"] == full["chosen_tokens"]
    [short] = evaluate_pairs(chat_model, PAIRS[:1], max_tokens=5, limits=LIMITS)
    assert short["chosen_tokens"] == 4 == short["rejected_tokens"]


def test_accuracy_by_sum_and_by_token() -> None:
    result = {"chosen": -30.0, "chosen_tokens": 10, "rejected": -20.0, "rejected_tokens": 4}
    assert PREFERENCE_ACCURACY.top(result) == 0.0 and PREFERENCE_ACCURACY_PER_TOKEN.top(result) == 1.0
    assert PREFERENCE_ACCURACY.top({**result, "rejected": -30.0}) == 0.0  # a tie prefers nothing


def test_a_template_that_does_not_take_the_messages_is_told(chat_model: LoadedModel) -> None:
    strict = "{{ raise_exception('roles must alternate') }}"
    before, chat_model.tokenizer.chat_template = chat_model.tokenizer.chat_template, strict
    try:
        with pytest.raises(UserError, match=r"does not take the messages 'Answer.'.*roles must alternate"):
            evaluate_pairs(chat_model, PAIRS, max_tokens=256, limits=LIMITS)
        chat_model.tokenizer.chat_template = None
        with pytest.raises(UserError, match="has no chat template; name one with chat_template="):
            evaluate_pairs(chat_model, PAIRS, max_tokens=256, limits=LIMITS)
    finally:
        chat_model.tokenizer.chat_template = before
