"""The index over documents held out gives exact Jaccard similarities."""

import numpy as np
import pytest

pytest.importorskip("datatrove")

from megatron_redone.curation.fingerprint import ShingleSets
from megatron_redone.curation.held_out import HeldOutIndex


def jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b)


def as_shingles(values: set[int]) -> np.ndarray:
    return np.sort(np.fromiter(values, np.uint32, len(values)))


def as_sets(documents: list[set[int]]) -> ShingleSets:
    return ShingleSets(np.concatenate([*map(as_shingles, documents)]), np.array([*map(len, documents)]))


def test_nearest_is_the_largest_jaccard_similarity() -> None:
    rng = np.random.default_rng(5)
    documents = [set(rng.integers(0, 60, rng.integers(1, 40)).tolist()) for _ in range(50)]
    index = HeldOutIndex.build([as_sets(documents[:20]), as_sets(documents[20:])])
    for _ in range(50):
        probe = set(rng.integers(0, 80, rng.integers(1, 40)).tolist())
        expected = max(jaccard(probe, document) for document in documents)
        assert index.nearest(as_shingles(probe)) == pytest.approx(expected)


def test_documents_without_shingles_are_near_nothing() -> None:
    assert HeldOutIndex.build([]).nearest(as_shingles({1, 2})) == 0
    index = HeldOutIndex.build([as_sets([set(), {1, 2}])])
    assert index.nearest(as_shingles(set())) == 0
    assert index.nearest(as_shingles({1, 2})) == 1
