"""Markers of stages: they come back, and what is no marker counts as none."""

import json
from pathlib import Path

import pytest

from megatron_redone.pipeline.markers import Marker, marker_path, read_marker, write_marker

MARKER = Marker(
    work="0123456789abcdef",
    settings={"data.blend": [{"path": "a"}], "optimizer.lr": 1e-5, "tokenizer": None, "name": "问 答"},
    reads={"posts/*.jsonl": "f" * 16},
    follows={"tokens": "e" * 16},
    writes=["runs/a"],
    files={"runs/a/config.yaml": [12, 1_700_000_000_123_456_789]},
    done=True,
    seconds=0.1,
)


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    (tmp_path / "pipeline").mkdir()
    return tmp_path


@pytest.mark.parametrize("marker", [MARKER, Marker(work="x")])
def test_a_marker_comes_back_to_the_nanosecond(marker: Marker, work_dir: Path) -> None:
    write_marker(work_dir, "sft.2", marker)
    assert read_marker(work_dir, "sft.2") == marker
    assert marker_path(work_dir, "sft.2") == work_dir / "pipeline" / "sft.2.json"
    assert list((work_dir / "pipeline").iterdir()) == [marker_path(work_dir, "sft.2")]


def test_a_marker_of_another_stage_is_not_taken(work_dir: Path) -> None:
    write_marker(work_dir, "sft", MARKER)
    assert read_marker(work_dir, "sft.2") is None and read_marker(work_dir / "pipeline", "sft") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"work": "x"}', '{"format": "other/1", "work": "x"}'])
def test_what_is_no_marker_counts_as_never_begun(text: str, work_dir: Path) -> None:
    marker_path(work_dir, "a").write_text(text)
    assert read_marker(work_dir, "a") is None


def test_a_marker_of_another_version_counts_as_never_begun(work_dir: Path) -> None:
    write_marker(work_dir, "a", MARKER)
    content = json.loads(marker_path(work_dir, "a").read_text())
    marker_path(work_dir, "a").write_text(json.dumps({**content, "format": content["format"] + "1"}))
    assert read_marker(work_dir, "a") is None
