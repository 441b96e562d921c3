"""Thoughts that are left open, in what a model wrote or in the end of its prompt."""

import pytest

from megatron_redone.evaluation.thinking import leaves_thought_open
from megatron_redone.generation.hf_model import LoadedModel


@pytest.mark.parametrize(
    ("prompt", "text", "is_open"),
    [
        ("Which?", "nine", False),
        ("Which?", "<think>\nnine", True),
        ("Which?", "<think>\nten?\n</think>\n\nnine", False),
        ("Which?", "<think>a</think>nine<think>", True),
        ("<think>", "on and on", True),
        ("<think>", "on\n</think>\n\nnine", False),
        ("<think></think>", "nine", False),
    ],
)
def test_a_thought_is_open_until_it_is_closed(chat_model: LoadedModel, prompt: str, text: str, is_open: bool) -> None:
    ids = chat_model.tokenizer.encode(prompt, add_special_tokens=False)
    decoded = chat_model.tokenizer.decode(ids)
    assert decoded == prompt
    assert leaves_thought_open(chat_model, ids, text) is is_open
