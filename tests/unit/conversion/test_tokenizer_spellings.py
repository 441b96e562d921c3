"""tokenizer_config.json in one spelling for transformers 4 and 5; the truth is tokenizer.json."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers

from megatron_redone.conversion.tokenizer_spellings import spell_tokenizer, spell_tokenizer_config, splits_as_qwen2
from tests.clients import tokenizers_of_families
from tests.helpers import small_tokenizer

QWEN2 = "qwen2"
PLAIN = {"model": {"type": "BPE"}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {kind: tokenizers_of_families.write(folder / kind, kind) for kind in tokenizers_of_families.KINDS}


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def test_the_splitting_of_qwen2_is_known(folders: dict[str, Path]) -> None:
    content = {kind: read(folder / "tokenizer.json") for kind, folder in folders.items()}
    assert {kind: splits_as_qwen2(tokenizer) for kind, tokenizer in content.items()} == {
        kind: kind == QWEN2 for kind in folders
    }
    theirs = json.loads(transformers.Qwen2Tokenizer(vocab={"a": 0}, merges=[]).backend_tokenizer.to_str())
    assert splits_as_qwen2(theirs)
    for change in ({"normalizer": None}, {"model": {**theirs["model"], "ignore_merges": True}}):
        assert not splits_as_qwen2({**theirs, **change})


@pytest.mark.parametrize("kind", tokenizers_of_families.KINDS)
@pytest.mark.parametrize("saved_class", ["TokenizersBackend", None])
def test_transformers_reads_tokenizer_json_as_it_is(
    kind: str, saved_class: str | None, folders: dict[str, Path], tmp_path: Path
) -> None:
    for file in folders[kind].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = read(tmp_path / "tokenizer_config.json")
    if saved_class is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": saved_class}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2" if kind == QWEN2 else "llama"}))
    spell_tokenizer(tmp_path, "qwen2" if kind == QWEN2 else "llama")
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*small_tokenizer.TEXT, "12 1234 </s><|im_end|> x , don't", " a", ""]:
        assert theirs(text)["input_ids"] == library.encode(text).ids
        assert theirs.decode(library.encode(text).ids) == library.decode(library.encode(text).ids, False)
    assert theirs.chat_template == config["chat_template"] == (tmp_path / "chat_template.jinja").read_text()
    kept = kind == QWEN2 and saved_class is None
    name = "Qwen2Tokenizer" if kept else "PreTrainedTokenizerFast"
    assert read(tmp_path / "tokenizer_config.json")["tokenizer_class"] == name


def test_extra_tokens_stand_under_the_name_that_both_read() -> None:
    spell = lambda content: spell_tokenizer_config(content, PLAIN, "llama")[0]  # noqa: E731
    found = spell({"additional_special_tokens": ["<a>"], "extra_special_tokens": ["<b>", "<a>"]})
    assert found["additional_special_tokens"] == ["<a>", "<b>"] and "extra_special_tokens" not in found
    named = {"image_token": "<image>"}
    assert spell({"extra_special_tokens": named})["extra_special_tokens"] == named


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
@pytest.mark.parametrize("given", [True, False, None])
def test_decoding_takes_no_spaces_away(kind: str, given: bool | None) -> None:
    before = {} if given is None else {"clean_up_tokenization_spaces": given}
    content, told = spell_tokenizer_config(before, {"model": {"type": kind}}, "llama")
    assert content["clean_up_tokenization_spaces"] is (bool(given) and kind != "BPE")
    assert bool(told) == (bool(given) and kind == "BPE")


def test_a_space_that_the_tokenizer_puts_before_a_text_stays() -> None:
    for adds in (True, False):
        tokenizer = {**PLAIN, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": adds}}
        assert spell_tokenizer_config({}, tokenizer, "llama")[0]["add_prefix_space"] is adds


def test_what_5_splits_by_its_own_rule_is_told(folders: dict[str, Path]) -> None:
    for kind, folder in folders.items():
        told = spell_tokenizer_config({}, read(folder / "tokenizer.json"), "qwen2")[1]
        assert bool(told) == (kind != QWEN2), told


def test_named_templates_are_written_for_both(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folders["llama3"] / "tokenizer.json").read_bytes())
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "chat_template.jinja").write_text("plain")
    (tmp_path / "additional_chat_templates/tool_use.jinja").write_text("tools")
    spell_tokenizer(tmp_path, "llama")
    listed = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    assert read(tmp_path / "tokenizer_config.json")["chat_template"] == listed
    for name in ("chat_template.jinja", "additional_chat_templates/tool_use.jinja"):
        (tmp_path / name).unlink()
    spell_tokenizer(tmp_path, "llama")  # from the key alone, as transformers 4 writes it
    assert (tmp_path / "chat_template.jinja").read_text() == "plain"
    assert (tmp_path / "additional_chat_templates/tool_use.jinja").read_text() == "tools"


def test_a_folder_without_tokenizer_json_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    assert spell_tokenizer(tmp_path, "llama") == []
    assert read(tmp_path / "tokenizer_config.json") == {"tokenizer_class": "LlamaTokenizer"}
