"""Prompts and pairs are transformers' own ids, cut where the responses begin."""

from pathlib import Path
from typing import Any

import pytest
import transformers

from megatron_redone.errors import UserError
from megatron_redone.generation.chat_prompts import TemplateInputs, answer_ids, pair_ids, prompt_ids
from tests.helpers.chat_models import CHATML

DIALOGUE = [
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
    {"role": "user", "content": "周末去哪"},
]


@pytest.fixture
def tokenizer(chat_folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(chat_folder)


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_a_prompt_is_what_apply_chat_template_makes_of_it(tokenizer: Any) -> None:
    theirs = tokenizer.apply_chat_template(DIALOGUE, add_generation_prompt=True, return_dict=False)
    assert prompt_ids(tokenizer, DIALOGUE) == theirs


def test_prompt_and_answer_together_are_the_whole_conversation(tokenizer: Any) -> None:
    prompt, answer = answer_ids(tokenizer, DIALOGUE, "湖边")
    whole = tokenizer.apply_chat_template([*DIALOGUE, *assistant("湖边")], tokenize=False)
    assert tokenizer.decode(prompt + answer) == whole.rstrip() and prompt == prompt_ids(tokenizer, DIALOGUE)
    assert tokenizer.decode(answer) == "湖边<|im_end|>", "the end counts, the line break behind it does not"


def test_both_sides_of_a_pair_share_its_prompt(tokenizer: Any) -> None:
    pair = pair_ids(tokenizer, DIALOGUE, [assistant("湖边"), assistant("Nowhere")])
    assert (pair.prompt, pair.chosen) == answer_ids(tokenizer, DIALOGUE, "湖边")
    prompt, rejected = answer_ids(tokenizer, DIALOGUE, "Nowhere")
    assert pair.prompt + pair.rejected == prompt + rejected


def test_plain_text_is_tokenized_as_a_whole_and_ended_once(tokenizer: Any) -> None:
    """The last token of a prompt may join the first characters of a response: then that one is the response's."""
    pair = pair_ids(tokenizer, "the last o", ["ne back", "f it<|im_end|>"])
    assert pair.prompt + pair.chosen == tokenizer("the last one back<|im_end|>")["input_ids"]
    assert pair.prompt + pair.rejected == tokenizer("the last of it<|im_end|>")["input_ids"]
    assert len(pair.prompt) < len(tokenizer("the last o")["input_ids"])


def test_templates_that_are_missing_or_refuse(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% if messages[0].role != 'system' %}{{ raise_exception('begin!') }}{% endif %}" + CHATML
    with pytest.raises(UserError, match=r"does not take the messages 'Why\?'\.\.\.: begin!"):
        prompt_ids(tokenizer, DIALOGUE)
    tokenizer.chat_template = None
    with pytest.raises(UserError, match=r"no chat template; name one with chat_template=FILE\.jinja"):
        prompt_ids(tokenizer, DIALOGUE)


@pytest.mark.parametrize(
    ("message", "tools", "named"),
    [
        ({"role": "system", "content": "Be brief."}, None, "a message of the system"),
        ({"role": "tool", "content": '{"rain": true}'}, None, "a message of the tool"),
        ({"role": "user", "content": "?"}, [{"type": "function", "function": {"name": "weather"}}], "the tools"),
    ],
)
def test_what_a_template_leaves_out_is_told_once(
    tokenizer: Any, caplog: pytest.LogCaptureFixture, message: dict[str, str], tools: list[Any] | None, named: str
) -> None:
    tokenizer.chat_template = "{% for m in messages if m.role in ('user', 'assistant') %}{{ m.content }}{% endfor %}"
    for _ in range(3):
        prompt_ids(tokenizer, [*DIALOGUE, message], TemplateInputs(tools))
    assert caplog.text.count(f"leaves out {named}: the model answers without seeing that") == 1


def test_nothing_is_told_of_a_template_that_leaves_nothing_out(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    prompt_ids(tokenizer, [{"role": "system", "content": " Be brief. "}, *DIALOGUE])
    assert not caplog.text
