"""Which template a run's checkpoints carry, and by which files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.checkpoint.record import collect_hf_files
from megatron_redone.config.data import DataSource
from megatron_redone.errors import UserError
from megatron_redone.formats.manifest import CONVERSATIONS, ChatTemplateRecord
from megatron_redone.training.carried_template import is_template, template_of_data, template_texts
from tests.helpers import small_tokenizer

OWN = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = small_tokenizer.train(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(OWN)
    (folder / "config.json").write_text(json.dumps({"eos_token_id": 3}))
    return folder


def source(folder: Path, name: str, **keys: Any) -> DataSource:
    """A dataset of which there is the manifest alone."""
    content = {"format": CONVERSATIONS, "work": "0", **keys}
    (folder / f"{name}.manifest.json").write_text(json.dumps(content))
    return DataSource(path=str(folder / name))


def kept(text: str, **keys: Any) -> dict[str, Any]:
    return {"chat_template": {"text": text, **keys}}


def older(text: str, **variables: Any) -> dict[str, Any]:
    """What earlier versions wrote."""
    hashed = hashlib.sha256(text.encode()).hexdigest()
    return {"chat_template_sha256": hashed, "config": {"template_variables": variables}}


def test_sources_that_agree(tmp_path: Path) -> None:
    one, other = source(tmp_path, "one", **kept("a", variables={"x": 1})), source(tmp_path, "none")
    same = source(tmp_path, "same", **kept("a", variables={"x": 1}))
    assert template_of_data([other, one, same], None, None) == ChatTemplateRecord(text="a", variables={"x": 1})
    assert template_of_data([other], None, None) is None


@pytest.mark.parametrize(
    "difference", [kept("b"), kept("a", variables={"x": 1}), kept("a", with_tools="t"), older("a")]
)
def test_sources_that_differ_are_refused_unless_one_is_chosen(difference: dict[str, Any], tmp_path: Path) -> None:
    sources = [source(tmp_path, "one", **kept("a")), source(tmp_path, "two", **difference)]
    with pytest.raises(UserError, match=r"'one' and 'two' were prepared with different .*data\.chat_template_of=one"):
        template_of_data(sources, None, None)
    assert template_of_data(sources, "one", None) == ChatTemplateRecord(text="a")
    assert template_of_data(sources, "model", None) is None
    with pytest.raises(UserError, match="no source is called 'three'; they are one, two, and 'model'"):
        template_of_data(sources, "three", None)


def test_what_an_earlier_version_prepared_with_the_model_s_own(model: Path, tmp_path: Path) -> None:
    own = source(tmp_path, "own", **older(OWN, x=1))
    assert template_of_data([own], None, model) == ChatTemplateRecord(text=OWN)  # which reads no x
    lost = source(tmp_path, "lost", **older("another"))
    with pytest.raises(
        UserError, match="'lost' was prepared by a version that kept no chat template; prepare it again"
    ):
        template_of_data([lost], None, model)


def texts_of(record: ChatTemplateRecord, model: Path) -> dict[str, str]:
    return template_texts(record, collect_hf_files(model / "config.json", model), model)


def test_the_files_of_a_template(model: Path) -> None:
    (model / "additional_chat_templates").mkdir()
    for name in ("rag", "tool_use"):
        (model / "additional_chat_templates" / f"{name}.jinja").write_text(name)
    (model / "chat_template.json").write_text("{}")
    found = texts_of(ChatTemplateRecord(text=OWN + "{{ x }}", variables={"x": 1}), model)
    text = "{%- if x is not defined %}{%- set x = 1 %}{%- endif %}\n" + OWN + "{{ x }}"
    end = small_tokenizer.load(model).token_id("<|im_end|>")
    assert {name: found[name] for name in found if is_template(name)} == {
        "chat_template.jinja": text,
        "chat_template.json": json.dumps({"chat_template": text}),
        "additional_chat_templates/rag.jinja": "rag",
    }
    assert json.loads(found["generation_config.json"]) == {"eos_token_id": [3, end]}
    tools = texts_of(ChatTemplateRecord(text=OWN, with_tools="t"), model)["additional_chat_templates/tool_use.jinja"]
    assert tools == "t"


def test_special_tokens_by_the_name_that_the_data_s_tokenizer_gave_them(model: Path) -> None:
    (model / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "bos_token": "<s>"}))
    record = ChatTemplateRecord(text="{{ eos_token }}{{ bos_token }}", special_tokens={"eos_token": "<|im_end|>",
                                "bos_token": "<|im_start|>"})  # fmt: skip
    text = texts_of(record, model)["chat_template.jinja"]
    assert text == '{%- set bos_token = "<|im_start|>" %}\n' + record.text
    given = ChatTemplateRecord(text="{{ eos_token }}", variables={"eos_token": "!"})
    assert texts_of(given, model)["chat_template.jinja"] == '{%- set eos_token = "!" %}\n' + given.text


def test_a_template_that_ends_no_turn_adds_no_end_token(model: Path) -> None:
    assert "generation_config.json" not in texts_of(ChatTemplateRecord(text="{{ messages }}"), model)
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 3], "top_k": 5}))
    content = json.loads(texts_of(ChatTemplateRecord(text=OWN), model)["generation_config.json"])
    assert content["eos_token_id"][:2] == [1, 3] and len(content["eos_token_id"]) == 3 and content["top_k"] == 5
