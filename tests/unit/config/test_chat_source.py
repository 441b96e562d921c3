"""Sources of chats: names that become files, and what is held out."""

import json
from typing import Any

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.prepare_preferences import PreparePreferencesConfig
from megatron_redone.config.prepare_sft import PrepareSFTConfig
from megatron_redone.errors import UserError


def load(schema: type[Any], *sources: dict[str, Any], **more: str) -> Any:
    listed = json.dumps([{"input": "x.jsonl", "name": "a", **source} for source in sources])
    keys = {"output_dir": "out", "tokenizer.path": "model", **more}
    return load_config(schema, None, [f"sources={listed}", *(f"{name}={value}" for name, value in keys.items())])


@pytest.mark.parametrize("schema", [PrepareSFTConfig, PreparePreferencesConfig])
@pytest.mark.parametrize(
    ("sources", "more", "message"),
    [
        ([], {}, "sources: the list is empty"),
        ([{"input": []}], {}, "sources[0].input: the list is empty"),
        ([{}, {}], {}, "sources: the name 'a' is taken"),
        ([{"name": "manifest"}], {}, "sources: the name 'manifest' is taken"),
        ([{}, {"name": "a.validation"}], {}, "sources[1].name: 'a.validation' cannot name files"),
        ([{"name": "../a"}], {}, "sources[0].name: '../a' cannot name files"),
        ([{"name": ".a"}], {}, "sources[0].name: '.a' cannot name files"),
        ([{"validation_fraction": 1}], {}, "sources[0].validation_fraction: 1.0 is not below 1"),
        ([{"validation_fraction": 0.1, "validation_count": 5}], {}, "both are given"),
        ([{"validation_share": 0.1}], {}, "sources[0].validation_share: is called validation_fraction now"),
        ([{}], {"tokenizer.eod_token": "x"}, "tokenizer: chat data takes only its path"),
        ([{}], {"max_rejected": "0.1"}, "max_rejected: is called max_invalid now"),
    ],
)
def test_mistakes_are_told_in_one_line(
    schema: type[Any], sources: list[dict[str, Any]], more: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        load(schema, *sources, **more)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "posts-2024_v1.5", "问答", "a.jsonl"])
def test_names_that_files_can_have(name: str) -> None:
    assert load(PrepareSFTConfig, {"name": name}).sources[0].name == name
