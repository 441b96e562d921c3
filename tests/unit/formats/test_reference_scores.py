"""Scores of a reference model: they come back, and those that do not fit are refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_redone.errors import UserError
from megatron_redone.formats.reference_scores import (
    ReferenceScores,
    check_reference,
    read_reference,
    reference_path,
    write_reference,
)

SUMS = np.array([[-1.5, -2.25], [-3.0, -0.125], [-7.0, -9.0]], np.float32)
LENGTHS = np.array([[3, 4], [1, 1], [9, 2]], np.int32)
SCORES = ReferenceScores(data="d" * 16, model="m" * 16, done=3, sums=SUMS, lengths=LENGTHS)


def check(scores: ReferenceScores | None, **changed: Any) -> None:
    facts = {"data": SCORES.data, "pairs": 3, "model": SCORES.model, **changed}
    check_reference(Path("a.reference.safetensors"), scores, **facts)


def test_what_was_written_comes_back_and_torch_reads_the_same(tmp_path: Path) -> None:
    path = reference_path("data/pairs", "social", str(tmp_path / "scores"))
    assert path.name == "social.reference.safetensors" and path.parent == tmp_path / "scores"
    write_reference(path, SCORES)
    found = read_reference(path)
    assert found is not None and (found.data, found.model, found.done) == (SCORES.data, SCORES.model, 3)
    assert found.sums.dtype == np.float32 and found.sums.tolist() == SUMS.tolist()
    assert found.lengths.dtype == np.int32 and found.lengths.tolist() == LENGTHS.tolist()
    assert load_file(path)["sums"].tolist() == SUMS.tolist()
    check(found)


def test_beside_the_dataset_where_there_is_no_folder() -> None:
    assert reference_path("data/pairs", "social") == Path("data/pairs.reference.safetensors")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data": "x"}, "belong to other data"),
        ({"model": "x"}, "are of another model"),
        ({"done": 2}, "only 2 of 3 pairs"),
        ({"sums": np.where(SUMS == -0.125, np.nan, SUMS)}, "the first is pair 1"),
        ({"sums": np.where(SUMS == -7.0, -np.inf, SUMS)}, "the first is pair 2"),
        ({"lengths": np.where(LENGTHS == 9, 0, LENGTHS)}, "a response without tokens, the first is pair 2"),
    ],
)
def test_scores_that_do_not_fit_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(dataclasses.replace(SCORES, **changed))


def test_any_model_is_taken_where_none_is_asked_for_but_not_fewer_pairs() -> None:
    check(dataclasses.replace(SCORES, model="x"), model=None)
    with pytest.raises(UserError, match="belong to other data"):
        check(SCORES, pairs=4)
    with pytest.raises(UserError, match="there are no reference scores"):
        check(None)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.reference.safetensors"
    assert read_reference(path) is None
    save_file({"sums": torch.zeros(3, 2)}, path)
    with pytest.raises(UserError, match="not a file of `redone score-reference`"):
        read_reference(path)
    write_reference(path, SCORES)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="not readable"):
        read_reference(path)


def test_a_number_that_was_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.reference.safetensors"
    write_reference(path, SCORES)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the numbers, which lie behind the header
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.reference\.safetensors: damaged, its checksum differs"):
        read_reference(path)


def test_the_same_scores_are_the_same_bytes(tmp_path: Path) -> None:
    """The library's own writer orders what it says of a file by chance."""
    files = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for file in files:
        write_reference(file, SCORES)
    assert len({file.read_bytes() for file in files}) == 1
