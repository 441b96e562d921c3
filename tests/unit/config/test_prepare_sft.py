"""Conversations of prepare-sft: formats, and the keys that belong to one of them."""

import json
from typing import Any

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.prepare_sft import ConversationFormat, PrepareSFTConfig
from megatron_redone.errors import UserError


def load(*overrides: str, **source: Any) -> PrepareSFTConfig:
    sources = json.dumps([{"input": "x.jsonl", "name": "a", **source}])
    return load_config(PrepareSFTConfig, None, [f"sources={sources}", "output_dir=o", "tokenizer.path=m", *overrides])


@pytest.mark.parametrize("format", ConversationFormat)
def test_keys_of_prompts_are_for_records_that_have_such_keys(format: ConversationFormat) -> None:
    source = {"format": format.name, "prompt_key": "question", "completion_key": "answer"}
    if format.name in ("auto", "prompt_completion"):
        assert load(**source).sources[0].prompt_key == "question"
        return
    with pytest.raises(UserError) as caught:
        load(**source)
    expected = f"sources[0].prompt_key, completion_key: format {format.name} has no such keys; remove them"
    assert str(caught.value) == expected
    assert load(format=format.name).sources[0].format is format


@pytest.mark.parametrize(
    ("overrides", "source", "message"),
    [
        (["loss_on=user"], {}, "loss_on: expected assistant|last_turn|all, got 'user'"),
        ([], {"format": "chatml"}, "chatml"),
        (["max_invalid=2"], {}, "max_invalid: 2.0 is more than 1"),
        (["template_variables=[1]"], {}, "template_variables: expected a section of keys"),
    ],
)
def test_mistakes_are_told_in_one_line(overrides: list[str], source: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(*overrides, **source)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_template_is_told_what_the_file_says() -> None:
    config = load("template_variables.enable_thinking=false", "template_variables.date_string='1 May 2025'")
    assert config.template_variables == {"enable_thinking": False, "date_string": "1 May 2025"}
