"""A blend in a file of its own."""

from pathlib import Path

import pytest

from megatron_redone.config.blend_file import blend_yaml, read_blend
from megatron_redone.config.data import BlendSource, DataConfig
from megatron_redone.config.loader import load_config
from megatron_redone.errors import UserError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    blend = [BlendSource(path="data/${x}", name="a", weight=0.25), BlendSource(path="b", weight=0.75)]
    (tmp_path / "blend.yaml").write_text(blend_yaml(blend))
    assert read_blend(str(tmp_path / "blend.yaml")) == blend


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("blend: []", "blend: the list is empty"),
        ("blend: [{path: a, weight: 1}, {path: b}]", "no weight is given for b"),
        ("mixture: 1", "mixture: unknown key"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "blend.yaml").write_text(text)
    with pytest.raises(UserError, match=line):
        read_blend(str(tmp_path / "blend.yaml"))
    with pytest.raises(UserError, match="no such configuration file"):
        read_blend(str(tmp_path / "other.yaml"))


def test_a_run_has_a_blend_or_names_a_file_of_one() -> None:
    assert load_config(DataConfig, None, ["seq_length=8", "blend_file=blend.yaml"]).blend == []
    with pytest.raises(UserError, match="blend_file: blend is given too"):
        load_config(DataConfig, None, ["seq_length=8", "blend_file=blend.yaml", "blend=[{path: a}]"])
    with pytest.raises(UserError, match="blend: the list is empty"):
        load_config(DataConfig, None, ["seq_length=8"])
