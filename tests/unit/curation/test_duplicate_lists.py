"""Lists of what goes, put together from parts."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datatrove")

from megatron_redone.curation import duplicate_lists
from megatron_redone.curation.duplicate_lists import (
    GatherLists,
    document_numbers,
    is_listed,
    listed_numbers,
    save_array,
)
from megatron_redone.errors import UserError


@pytest.mark.parametrize("at_once", [1 << 20, 7])
def test_lists_become_one_in_the_order_of_the_documents(
    tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicate_lists, "_KNOWN_AT_ONCE", at_once)
    rng = np.random.default_rng(2)
    tasks = 40
    places = [np.sort(rng.choice(1000, rng.integers(0, 30), replace=False)) for _ in range(tasks)]
    everything = np.concatenate([document_numbers(task, of) for task, of in enumerate(places)])
    owners = rng.integers(0, 3, len(everything))
    for part in range(3):
        save_array(tmp_path / "parts", part, everything[owners == part])
    gather = GatherLists(tmp_path / "parts", tmp_path / "found", tasks, 3)
    for _ in range(2):  # as after a kill
        gather.run()
    assert np.load(tmp_path / "found/00000.npy").tolist() == everything.tolist()
    for task, of in enumerate(places):
        assert listed_numbers(tmp_path / "found", task).tolist() == of.tolist()
        asked = document_numbers(task, np.arange(1000))
        assert np.flatnonzero(is_listed(tmp_path / "found", asked)).tolist() == of.tolist()


def test_without_lists_nothing_is_listed(tmp_path: Path) -> None:
    GatherLists(tmp_path / "parts", tmp_path / "found", 3, 0).run()
    assert listed_numbers(tmp_path / "found", 0).tolist() == []
    assert not is_listed(tmp_path / "found", document_numbers(1, np.arange(5))).any()
    assert not is_listed(tmp_path / "none", document_numbers(1, np.arange(5))).any()


def test_a_list_that_is_missing_is_no_empty_one(tmp_path: Path) -> None:
    for part in (0, 2):
        save_array(tmp_path / "parts", part, np.empty(0, np.uint64))
    with pytest.raises(UserError, match="1 of 3 files of an earlier pass are missing"):
        GatherLists(tmp_path / "parts", tmp_path / "found", 1, 3).run()
