"""Duplicates: the first of a group stays, whatever order pairs are found in and however the input is cut."""

import random
import struct
from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from datatrove.data import Document

from megatron_redone.config.curate import MinHashConfig
from megatron_redone.curation.deduplication import (
    KeepFirst,
    exact_filter,
    exact_passes,
    minhash_filter,
    minhash_passes,
)
from megatron_redone.curation.documents import DocumentWriter, read_documents
from megatron_redone.curation.executors import Pass

THREAD = "the ferry leaves at nine and the last one back leaves at half past six so bring a warm jacket"
TEXTS = ["alpha beta", THREAD, "Alpha  BETA", "other", THREAD.replace("warm", "light"), "other", "alpha beta"]


def test_groups_are_the_connected_components_of_the_pairs(tmp_path: Path) -> None:
    """Against networkx, over many files of pairs."""
    networkx = pytest.importorskip("networkx")
    rng = random.Random(0)
    nodes = [(file, number) for file in range(4) for number in range(40)]
    pairs = [tuple(sorted(rng.sample(nodes, 2))) for _ in range(90)]
    (tmp_path / "pairs").mkdir()
    for bucket in range(3):
        packed = [struct.pack("<4I", *a, *b) for a, b in pairs[bucket::3]]
        (tmp_path / f"pairs/{bucket}.dups").write_bytes(b"".join(packed))
    KeepFirst(tmp_path / "pairs", tmp_path / "found").run()
    groups = networkx.connected_components(networkx.Graph(pairs))
    expected = {member for group in groups for member in group if member != min(group)}
    found = [
        (int(path.stem), number)
        for path in sorted((tmp_path / "found").glob("*.remove"))
        for (number,) in struct.iter_unpack("<I", path.read_bytes())
    ]
    assert found == sorted(expected) and len(found) > 40


def write(folder: Path, tasks: int) -> None:
    size = -(-len(TEXTS) // tasks)
    for rank in range(tasks):
        part = [
            Document(text, str(number), metadata={"source": "posts", "shard": rank})
            for number, text in enumerate(TEXTS)
            if number // size == rank
        ]
        list(DocumentWriter(folder).run(iter(part), rank, tasks))


def run(passes: list[Pass]) -> None:
    for one in passes:
        for rank in range(one.tasks):
            data = None
            for step in one.steps:
                data = step.run(data, rank, one.tasks)
            assert data is None or list(data) == []


def kept(folder: Path, drop: object, tasks: int) -> list[str]:
    parts = [drop.run(read_documents(folder).run(rank=rank, world_size=tasks), rank, tasks) for rank in range(tasks)]  # type: ignore[attr-defined]
    return [document.id for part in parts for document in part]


@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_the_first_of_the_same_texts_stays_and_case_and_spaces_do_not_count(tmp_path: Path, tasks: int) -> None:
    write(tmp_path / "documents", tasks)
    run(exact_passes(tmp_path / "documents", tmp_path / "work", tasks))
    drop = exact_filter(tmp_path / "work", tmp_path / "dropped")
    assert kept(tmp_path / "documents", drop, tasks) == ["0", "1", "3", "4"]


@pytest.mark.parametrize("tasks", [1, 2])
def test_the_first_of_nearly_the_same_texts_stays(tmp_path: Path, tasks: int) -> None:
    """Texts of fewer words than a shingle are like no other."""
    write(tmp_path / "documents", tasks)
    config = MinHashConfig(ngram=3, buckets=8, hashes_per_bucket=1)
    run(minhash_passes(config, tmp_path / "documents", tmp_path / "work", tasks))
    drop = minhash_filter(tmp_path / "work", tmp_path / "dropped")
    assert kept(tmp_path / "documents", drop, tasks) == ["0", "1", "2", "3", "5", "6"]
    (only,) = (tmp_path / "dropped/near/posts").glob("*.jsonl")
    assert THREAD.replace("warm", "light") in only.read_text()
