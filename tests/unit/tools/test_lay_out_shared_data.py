"""Public data sets laid out as the quickstart reads them: whole records, caps, and the same bytes every time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.curation.posts import parse_post
from tests.helpers import commands
from tests.helpers.shared_data import FOLDER, needs_shared_data

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[3] / "tools/lay_out_shared_data.py"
CONVERSATIONS = [
    "content_understanding",
    "information_extraction",
    "semantic_matching",
    "user_behaviour",
    "dialogue_persona",
    "translation",
    "general",
]


def lay_out(target: Path, *arguments: str, source: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return commands.to_its_end([sys.executable, str(SCRIPT), "--from", str(source), "--to", str(target), *arguments])


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("laid_out")
    done = lay_out(target, "--max-per-file", "900")
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    return target


@needs_shared_data
def test_every_record_has_its_form(folder: Path) -> None:
    for name in ("social", "general"):
        posts = [parse_post(record) for record in records(folder / f"posts/{name}.jsonl")]
        assert len(posts) == 900 and len({post.id for post in posts}) == 900
    for name in CONVERSATIONS:
        found = records(folder / f"conversations/{name}.jsonl")
        assert 0 < len(found) <= 900
        for record in found:
            turns = [turn["role"] for turn in record["messages"] if turn["role"] != "system"]
            assert turns == ["user", "assistant"] * (len(turns) // 2)
            assert all(turn["content"].strip() for turn in record["messages"])
    for pair in records(folder / "preferences/pairs.jsonl"):
        assert pair["prompt"][-1]["role"] == "user"
        assert pair["chosen"][0]["content"] != pair["rejected"][0]["content"]


@needs_shared_data
def test_extracted_answers_stand_in_the_text(folder: Path) -> None:
    for record in records(folder / "conversations/information_extraction.jsonl"):
        question, answer = (turn["content"] for turn in record["messages"])
        separator = ", " if question.startswith("List") else "，" if question.startswith("找出") else None
        for name in answer.split(separator) if separator else [answer]:
            assert name in question, record["id"]


@needs_shared_data
def test_no_text_is_both_trained_on_and_asked_about(folder: Path, tmp_path: Path) -> None:
    assert lay_out(tmp_path).returncode == 0
    posts = {
        record["text"].strip() for name in ("social", "general") for record in records(tmp_path / f"posts/{name}.jsonl")
    }
    asked = [
        record["messages"][0]["content"].split("\n\n", 1)[1].strip()
        for name in ("content_understanding", "information_extraction")
        for record in records(tmp_path / f"conversations/{name}.jsonl")
    ]
    long = [text for text in asked if len(text) > 40]
    assert len(long) > 10_000
    assert not any(text in posts for text in long)


@needs_shared_data
def test_the_same_bytes_every_time(folder: Path, tmp_path: Path) -> None:
    lay_out(tmp_path, "--max-per-file", "900")
    for path in sorted(folder.rglob("*.jsonl")):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "in/general").mkdir(parents=True)
    (tmp_path / "in/general/wiki_demo.txt").write_text("One article.\nAnother.\n")
    done = lay_out(tmp_path / "out", source=tmp_path / "in")
    assert done.returncode == 0
    assert "goemotions_comments: left out" in done.stderr
    texts = [record["text"] for record in records(tmp_path / "out/posts/general.jsonl")]
    assert sorted(texts) == ["Another.", "One article."]
    assert lay_out(tmp_path / "out", source=tmp_path / "nowhere").returncode != 0
