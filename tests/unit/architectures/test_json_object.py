"""What transformers reads in silence, taking the last of two values or a number that is none, is refused."""

import json
from pathlib import Path

import pytest

from megatron_redone.architectures.json_object import read_json_object
from megatron_redone.errors import UserError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands there twice"),
        ('{"a": {"b": 1, "b": 1}}', "the key 'b' stands there twice"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": [-Infinity]}', "-Infinity is no number"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("", "not valid JSON"),
        ("3", "holds no JSON object"),
    ],
)
def test_what_is_not_said_once_and_clearly_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(UserError, match=f"config.json: {message}") as caught:
        read_json_object(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xff"}')
    for name, message in (("folder", "no such file"), ("loop", "no such file"), ("latin", "not valid JSON")):
        with pytest.raises(UserError, match=f"{name}.json: {message}"):
            read_json_object(tmp_path / f"{name}.json")


def test_an_object_is_what_json_reads(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, True, {"b": "\u00e4"}]}
    (tmp_path / "file.json").write_text(json.dumps(content))
    assert read_json_object(tmp_path / "file.json") == content
