"""Duplicates: whoever goes has a better one that stays, however pairs are found and the input is cut."""

import os
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datatrove")

from datatrove.data import Document

from megatron_redone.config.curate import MinHashConfig
from megatron_redone.curation import deduplication, prints
from megatron_redone.curation.deduplication import (
    MatchBands,
    VerifyPairs,
    choose_best,
    exact_passes,
    near_passes,
)
from megatron_redone.curation.duplicate_lists import listed
from megatron_redone.curation.executors import Pass
from megatron_redone.curation.prints import PrintWriter

THREAD = "the ferry leaves at nine and the last one back leaves at half past six so bring a warm jacket"
LONGER = THREAD.replace("warm", "very warm")
TEXTS = ["alpha beta", THREAD, "Alpha  BETA", "other", LONGER, "other", "alpha beta"]


def run(passes: list[Pass]) -> None:
    for one in passes:
        for rank in range(one.tasks):
            data = None
            for step in one.steps:
                data = step.run(data, rank, one.tasks)


def write(folder: Path, texts: list[str], tasks: int, config: MinHashConfig, parts: int) -> list[int]:
    """Writes prints of texts cut into tasks; the first text of each."""
    writer = PrintWriter(config, True, 0, ["posts"], folder, parts)
    starts = [len(texts) * rank // tasks for rank in range(tasks + 1)]
    for rank in range(tasks):
        part = texts[starts[rank] : starts[rank + 1]]
        list(writer.run((Document(text, "", metadata={"source": "posts"}) for text in part), rank, tasks))
    return starts


def gone(found: Path, starts: list[int]) -> list[int]:
    sizes = np.diff(starts).tolist()
    return np.flatnonzero(np.concatenate([listed(found, task, size) for task, size in enumerate(sizes)])).tolist()


@pytest.mark.parametrize(("tasks", "parts"), [(1, 1), (2, 5), (7, 2)])
def test_the_first_of_the_same_texts_stays_and_case_and_spaces_do_not_count(
    tmp_path: Path, tasks: int, parts: int
) -> None:
    starts = write(tmp_path / "prints", TEXTS, tasks, MinHashConfig(), parts)
    run(exact_passes(tmp_path / "prints", tmp_path / "exact", tasks, parts))
    assert gone(tmp_path / "exact", starts) == [2, 5, 6]


@pytest.mark.parametrize(("tasks", "parts"), [(1, 1), (2, 5), (7, 2)])
def test_the_longest_of_nearly_the_same_texts_stays(tmp_path: Path, tasks: int, parts: int) -> None:
    config = MinHashConfig(ngram=3, buckets=12, hashes_per_bucket=1, min_jaccard=0.5)
    starts = write(tmp_path / "prints", TEXTS, tasks, config, parts)
    run(near_passes(config, tmp_path / "prints", tmp_path / "exact", tmp_path / "near", tasks, parts))
    assert gone(tmp_path / "near/found", starts) == [1, 2, 5, 6]


def test_what_is_an_exact_duplicate_is_compared_with_nothing(tmp_path: Path) -> None:
    config = MinHashConfig(ngram=3, buckets=12, hashes_per_bucket=1)
    write(tmp_path / "prints", ["other", "other", "others"], 1, config, 1)
    run(exact_passes(tmp_path / "prints", tmp_path / "exact", 1, 1))
    MatchBands(config.buckets, tmp_path / "prints", tmp_path / "exact", tmp_path / "pairs", 1, 1).run(rank=0)
    assert 1 not in np.load(tmp_path / "pairs/00000.npy")


@pytest.mark.parametrize(("tasks", "parts", "at_once"), [(1, 1, 1 << 20), (3, 1, 1 << 20), (3, 4, 70)])
def test_verified_pairs_are_those_of_brute_force(
    tmp_path: Path, tasks: int, parts: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle is Python's sets of words over all pairs; bands of one hash find what is alike at all."""
    monkeypatch.setattr(deduplication, "_SHINGLES_AT_ONCE", at_once)
    monkeypatch.setattr(prints, "_BANDS_AT_ONCE", at_once)
    rng = random.Random(4)
    texts = []
    for _ in range(40):
        words = [str(rng.randint(0, 999)) for _ in range(rng.randint(1, 30))]
        for _ in range(3):
            texts.append(" ".join(words))
            words[rng.randrange(len(words))] = "changed"
    config = MinHashConfig(ngram=1, buckets=60, hashes_per_bucket=1, min_jaccard=0.6)
    starts = write(tmp_path / "prints", texts, tasks, config, parts)
    nothing, pairs, verified = (tmp_path / name for name in ("nothing", "pairs", "verified"))
    for rank in range(parts):
        MatchBands(config.buckets, tmp_path / "prints", nothing, pairs, tasks, parts).run(rank=rank)
    for rank in range(tasks):
        VerifyPairs(config.min_jaccard, tmp_path / "prints", pairs, verified, tasks, parts).run(rank=rank)
    found = np.concatenate([np.load(path) for path in verified.glob("*.npy")])
    places = np.array(starts)[(found >> np.uint64(32)).astype(int)] + (found & np.uint64(0xFFFFFFFF)).astype(int)
    sets = [set(text.split()) for text in texts]
    expected = {
        (i, j)
        for j in range(len(texts))
        for i in range(j)
        if len(sets[i] & sets[j]) >= config.min_jaccard * len(sets[i] | sets[j])
    }
    assert {(i, j) for i, j in places.tolist()} == expected and len(expected) > 60


def test_sets_are_whole_where_the_system_reads_less_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "prints", TEXTS, 1, MinHashConfig(ngram=1), 1)
    of_task = prints.Prints(tmp_path / "prints", 0)
    everything, read = np.arange(len(TEXTS)), os.preadv
    whole = of_task.shingles_of(everything).values.tolist()
    monkeypatch.setattr(os, "preadv", lambda file, buffers, offset: read(file, [buffers[0][:3]], offset))
    assert of_task.shingles_of(everything).values.tolist() == whole
    os.truncate(tmp_path / "prints/00000.shingles", 4 * len(whole) - 1)
    with pytest.raises(EOFError, match="bytes are missing"):
        of_task.shingles_of(everything)


def test_whoever_goes_is_alike_to_a_better_one_that_stays() -> None:
    rng = np.random.default_rng(3)
    nodes = np.unique(rng.integers(0, 1 << 40, 200, np.uint64))
    sizes = rng.integers(1, 9, len(nodes))
    pairs = np.sort(rng.choice(nodes, (150, 2)), axis=1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    goes = choose_best(nodes, sizes, pairs)
    alike = [(a, b) for a, b in np.searchsorted(nodes, pairs).tolist()]
    rank = {node: place for place, node in enumerate(np.argsort(-sizes, kind="stable").tolist())}
    for node in range(len(nodes)):
        others = {a + b - node for a, b in alike if node in (a, b)}
        stays = [other for other in others if not goes[other]]
        assert any(rank[other] < rank[node] for other in stays) if goes[node] else not stays
