"""Sources of conversations to datasets: what is done, what is done again, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from megatron_redone.config.loader import load_config
from megatron_redone.config.prepare_sft import PrepareSFTConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.manifest import read_manifest
from megatron_redone.stages import prepare_sft
from tests.helpers import small_tokenizer
from tests.helpers.chat_models import CHATML
from tests.helpers.preference_sources import write_lines


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_tokenizer.train(tmp_path_factory.mktemp("tokenizer"))
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


def records(name: str, count: int = 5) -> list[Any]:
    return [{"prompt": f"{name} {number}?", "completion": f"yes {number}"} for number in range(count)]


def input_file(path: Path, content: list[Any]) -> str:
    """Written only where it changes: the time of a file is a part of what a dataset is made from."""
    before = path.with_suffix(".last")
    new = json.dumps(content)
    if not before.exists() or before.read_text() != new:
        write_lines(path, content)
        before.write_text(new)
    return str(path)


def prepare(tmp_path: Path, tokenizer: Path, sources: dict[str, list[Any]], **more: Any) -> Path:
    values = {
        "output_dir": str(tmp_path / "out"),
        "tokenizer": {"path": str(tokenizer)},
        "workers": 1,
        "max_invalid": 0.5,
        "sources": [
            {"name": name, "input": [input_file(tmp_path / f"{name}.jsonl", content)]}
            for name, content in sources.items()
        ],
        **more,
    }
    (tmp_path / "config.yaml").write_text(json.dumps(values))
    prepare_sft.run(load_config(PrepareSFTConfig, str(tmp_path / "config.yaml")))
    return tmp_path / "out"


def stamps(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.bin")}


def test_every_conversation_is_in_its_dataset_and_the_invalid_ones_are_listed(tmp_path: Path, tokenizer: Path) -> None:
    out = prepare(tmp_path, tokenizer, {"a": [*records("a"), "{"], "b": records("b", 2)})
    theirs = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    data = IndexedDataset(out / "a")
    texts = [theirs.decode(data[number].tolist(), skip_special_tokens=True) for number in range(len(data))]
    assert texts == [f"user\na {number}?\nassistant\nyes {number}\n" for number in range(5)]
    [invalid] = (out / "a.invalid.jsonl").read_text().splitlines()
    assert json.loads(invalid)["place"] == 6 and not (out / "b.invalid.jsonl").exists()
    listing = json.loads((out / "manifest.json").read_text())
    assert [(one["name"], one["records"], one["invalid"]) for one in listing["sources"]] == [("a", 6, 1), ("b", 2, 0)]


def test_only_what_changed_is_done_again(tmp_path: Path, tokenizer: Path) -> None:
    out = prepare(tmp_path, tokenizer, {"a": records("a"), "b": records("b")})
    before = stamps(out)
    (out / "b.idx").unlink()
    prepare(tmp_path, tokenizer, {"a": records("a"), "b": records("b")})
    after = stamps(out)
    assert after["a.bin"] == before["a.bin"] and after["b.bin"] != before["b.bin"] and (out / "b.idx").exists()
    with pytest.raises(UserError, match="made from other input or settings"):
        prepare(tmp_path, tokenizer, {"a": records("other"), "b": records("b")})
    assert stamps(out) == after


def test_what_cannot_be_used_leaves_no_dataset(tmp_path: Path, tokenizer: Path) -> None:
    for content, message in (
        ([{"text": "x"}], r"source a: .*its records have no format that is known \(keys: text\)"),
        (["{", "["], r"not one of 2 records can be used \(.*malformed JSON.*a\.invalid\.jsonl"),
        ([*records("a", 1), "{", "["], r"2 of 3 records are invalid, more than max_invalid=0\.5"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(tmp_path, tokenizer, {"a": content})
        assert not list((tmp_path / "out").glob("a.*bin*")) and read_manifest(tmp_path / "out/a") is None
