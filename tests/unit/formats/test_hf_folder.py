"""A Hugging Face directory by its path or by its name on the hub, which is played here."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.hf_folder import find_hf_folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, list[str]]]:
    """What the hub was asked for; it gives `nobody/nothing` to nobody."""
    calls: list[tuple[str, list[str]]] = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> Any:
        calls.append((name, allow_patterns))
        if name == "nobody/nothing":
            raise RuntimeError("404 Client Error\n" + "x" * 1000)
        return str(tmp_path / "cache")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    monkeypatch.chdir(tmp_path)
    return calls


def test_a_local_directory_is_taken_before_the_hub_is_asked(asked: list, tmp_path: Path) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert find_hf_folder("org/model").resolve() == tmp_path / "org" / "model"
    assert asked == []


def test_a_hub_name_brings_no_pickled_weights(asked: list, tmp_path: Path) -> None:
    assert find_hf_folder("org/other-model.v1") == tmp_path / "cache"
    ((name, patterns),) = asked
    assert name == "org/other-model.v1"
    assert {"config.json", "tokenizer.json", "*.safetensors"} <= set(patterns)
    assert not [pattern for pattern in patterns if pattern.endswith((".bin", ".py", ".pt")) or pattern == "*"]


@pytest.mark.parametrize("name", ["models/a/b", "/nowhere/model", "model", "./org/model", "../model"])
def test_what_cannot_be_a_hub_name_is_not_asked_for(name: str, asked: list) -> None:
    with pytest.raises(UserError, match=r"no such directory$"):
        find_hf_folder(name)
    assert asked == []


def test_a_failure_of_the_hub_is_one_short_line(asked: list, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^nobody/nothing: no such directory, .*404 Client Error x+") as caught:
        find_hf_folder("nobody/nothing")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 320 and len(asked) == 1
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        find_hf_folder("org/model")
