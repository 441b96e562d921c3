"""Documents between steps come back as they were; users get theirs without what the steps alone need."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from datatrove.data import Document

from megatron_redone.curation.documents import DocumentReader, DocumentWriter, DroppedFiles, FinalWriter

METADATA = {"source": "posts", "kind": "social", "topic": "food", "comments": 3, "tokens": 7}


def documents() -> list[Document]:
    return [
        Document("老板\nline two", "7", metadata={**METADATA, "post": object()}),
        Document("plain", "8", metadata={"source": "posts", "kind": "general", "tokens": None}),
    ]


def lines(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_task_reads_what_the_same_task_wrote(tmp_path: Path) -> None:
    for rank, part in enumerate([documents(), [], documents()[:1]]):
        assert [one.id for one in DocumentWriter(tmp_path).run(iter(part), rank, 3)] == [one.id for one in part]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"0000{rank}.jsonl.zst" for rank in range(3)]
    first, second, third = (list(DocumentReader(tmp_path).run(rank=rank, world_size=3)) for rank in range(3))
    assert [one.text for one in first] == ["老板\nline two", "plain"] and second == []
    assert first[0].metadata == {**METADATA, "index": 0}
    assert first[1].metadata == {"source": "posts", "kind": "general", "index": 1}
    assert [one.id for one in third] == ["7"]


@pytest.mark.parametrize("compressed", [False, True])
def test_users_get_their_records_by_source(tmp_path: Path, compressed: bool) -> None:
    assert len(list(FinalWriter(tmp_path, compressed).run(iter(documents()), rank=4))) == 2
    [file] = tmp_path.rglob("*.jsonl*")
    assert file.relative_to(tmp_path) == Path(f"posts/00004.jsonl{'.gz' if compressed else ''}")
    assert lines(file) == [
        {"id": "7", "source": "posts", "topic": "food", "comments": 3, "tokens": 7, "text": "老板\nline two"},
        {"id": "8", "source": "posts", "text": "plain"},
    ]


def test_the_same_documents_are_the_same_bytes_also_compressed(tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        list(FinalWriter(folder, True).run(iter(documents())))
        written.append((folder / "posts/00000.jsonl.gz").read_bytes()[:8])
    assert written[0] == written[1] and written[0][4:8] == bytes(4), "no time of day in the header"


def test_what_is_dropped_says_why(tmp_path: Path) -> None:
    with DroppedFiles(tmp_path, "near") as files:
        for one, reason in zip(documents(), ("too short", "like another"), strict=True):
            files.drop(one, 0, reason)
    found = lines(tmp_path / "near/posts/00000.jsonl")
    assert [(one["id"], one["reason"]) for one in found] == [("7", "too short"), ("8", "like another")]
    assert found[0]["comments"] == 3 and "comments" not in found[1]
