"""Parts of sorted columns: together they are everything, each once, in order."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.curation.sorted_runs import read_part, write_runs


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_parts_are_everything_in_order(tmp_path: Path, parts: int) -> None:
    rng = np.random.default_rng(1)
    columns = [rng.choice(rng.integers(0, 1 << 64, 300, np.uint64), 500) for _ in range(3)]
    write_runs(tmp_path, 2, iter(columns), parts)
    for number, column in enumerate(columns):
        found = [read_part(tmp_path, 2, number, part, parts) for part in range(parts)]
        values, places = (np.concatenate(some) for some in zip(*found, strict=True))
        assert values.tolist() == np.sort(column).tolist()
        assert places.tolist() == np.argsort(column, kind="stable").tolist()
        borders = [(int(some.min()), int(some.max())) for some, _ in found if len(some)]
        assert len(borders) == parts and all(a[1] < b[0] for a, b in pairwise(borders))


def test_a_task_without_documents(tmp_path: Path) -> None:
    write_runs(tmp_path, 0, [np.empty(0, np.uint64)] * 2, 2)
    values, places = read_part(tmp_path, 0, 1, 0, 2)
    assert len(values) == len(places) == 0
