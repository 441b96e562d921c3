"""Defaults < file < overrides, and one clear line for every mistake."""

import enum
from dataclasses import dataclass
from pathlib import Path

import pytest

from megatron_redone.config.field import key
from megatron_redone.config.loader import load_config, to_yaml
from megatron_redone.config.schema import config_hash, describe_keys
from megatron_redone.errors import UserError


class Shape(enum.Enum):
    round = "round"
    square = "square"


@dataclass(frozen=True, kw_only=True)
class Saving:
    save_dir: str = key("where checkpoints go")
    save_every: int = key("steps between two", 100)

    def __post_init__(self) -> None:
        if self.save_every < 1:
            raise UserError("save_every: less than one step")


@dataclass(frozen=True, kw_only=True)
class Source:
    path: str = key("a dataset")
    weight: float | None = key("its share", None)


@dataclass(frozen=True, kw_only=True)
class Example:
    checkpoint: Saving = key("saving")
    sources: list[Source] = key("what is read", [])
    names: list[str] = key("some names", ["a"])
    rate: float = key("a rate", 1e-4)
    shape: Shape = key("a shape", Shape.round)


def load(*overrides: str, file: Path | None = None) -> Example:
    return load_config(Example, str(file) if file else None, overrides)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_layers_in_order(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "checkpoint: {save_dir: here, save_every: 5}\nrate: 3e-4\nshape: square\n")
    config = load("checkpoint.save_every=7", "names=[x, y]", file=file)
    assert config == Example(
        checkpoint=Saving(save_dir="here", save_every=7), names=["x", "y"], rate=3e-4, shape=Shape.square
    )


def test_lists_of_sections_and_single_values() -> None:
    config = load("checkpoint.save_dir=d", "sources=[{path: p, weight: 2}, {path: q}]", "names=solo")
    assert config.sources == [Source(path="p", weight=2.0), Source(path="q")]
    assert config.names == ["solo"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["checkpoint.savedir=x"], "checkpoint.savedir: unknown key; did you mean 'save_dir'?"),
        (["save_dir=x"], "save_dir: unknown key; did you mean 'checkpoint.save_dir'?"),
        (["zzz=1"], "zzz: unknown key; known here: checkpoint, sources, names, rate, shape"),
        (["checkpoint.save_every=often"], "checkpoint.save_every: expected int, got 'often'"),
        (["shape=oval"], "shape: expected round|square, got 'oval'"),
        (["checkpoint=x"], "checkpoint: expected a section of keys, got 'x'"),
        (["sources=[{pth: p}]"], "sources[0].pth: unknown key; did you mean 'path'?"),
        (["rate"], "'rate': an override has the form key=value, for example a.b=c"),
        (["checkpoint.save_dir=d", "checkpoint.save_every=0"], "checkpoint.save_every: less than one step"),
        ([], "required key is missing: checkpoint.save_dir (give them in the file or as checkpoint.save_dir=...)"),
    ],
)
def test_mistakes_are_told_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(*overrides)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"), [("- a\n", "expected 'key: value' pairs"), ("a: [1\n", "not valid YAML"), (None, "no such")]
)
def test_bad_files(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "a.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load(file=file)
    assert "\n" not in str(caught.value)


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = load("checkpoint.save_dir=d", "sources=[{path: p}]", "shape=square", "rate=1e-5")
    assert load(file=write(tmp_path / "b.yaml", to_yaml(config))) == config


def test_hash_changes_with_any_value() -> None:
    hashes = {config_hash(load("checkpoint.save_dir=d", *more)) for more in ([], ["rate=2"], ["shape=square"])}
    assert len(hashes) == 3


def test_every_key_is_described() -> None:
    rows = {row.name: row for row in describe_keys(Example)}
    assert rows["checkpoint.save_dir"].default == "required"
    assert rows["sources[].weight"].type == "float or null"
    assert rows["shape"].type == "round|square" and rows["shape"].default == "round"
    assert rows["names"].default == '["a"]'
