"""Where transformers looks for a template and its special tokens, we do."""

import json
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.tokenization.chat_template_file import declared_tokens, find_chat_template, named_special_tokens
from tests.helpers import chat_tokenizers, small_tokenizer


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer.train(tmp_path_factory.mktemp("small"))


def test_where_a_template_is_looked_for(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((small / "tokenizer.json").read_bytes())
    with pytest.raises(UserError, match="has no chat template; name one with chat_template=FILE"):
        find_chat_template(folder, None)
    several = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    found = find_chat_template(folder, None)
    assert (found.text, found.with_tools) == ("plain", "tools")
    (folder / "chat_template.jinja").write_text("file")
    assert find_chat_template(folder, None).text == "file"
    (tmp_path / "mine.jinja").write_text("mine")
    assert find_chat_template(folder, str(tmp_path / "mine.jinja")).text == "mine"
    with pytest.raises(UserError, match="cannot be read"):
        find_chat_template(folder, str(tmp_path / "none.jinja"))


def test_named_tokens_are_those_of_transformers(small: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    for template in ("mistral", "smollm2"):
        folder = chat_tokenizers.write(tmp_path / template, small, template)
        theirs = transformers.AutoTokenizer.from_pretrained(folder).special_tokens_map
        assert named_special_tokens(folder) == {name: str(token) for name, token in theirs.items()}


def test_tokens_written_as_objects_and_declared_ones(tmp_path: Path) -> None:
    assert named_special_tokens(tmp_path) == {} and declared_tokens(tmp_path) == []
    config = {
        "eos_token": {"content": "<end>", "lstrip": False},
        "pad_token": None,
        "added_tokens_decoder": {"7": {"content": "<end>"}, "8": {"content": "<tool>"}},
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<old>", "bos_token": "<s>"}))
    assert named_special_tokens(tmp_path) == {"bos_token": "<s>", "eos_token": "<end>"}
    assert declared_tokens(tmp_path) == ["<end>", "<tool>"]
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config\.json: not valid JSON"):
        named_special_tokens(tmp_path)
