"""Runs of loss weights: all of them are found again, and a file of another dataset is refused."""

from pathlib import Path

import numpy as np
import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.loss_weights import RUN, read_runs, weight_runs, weights_of


def test_weights_are_their_runs_over_the_mask_whatever_they_are() -> None:
    random = np.random.default_rng(3)
    lengths = random.integers(0, 9, 200)
    weights = random.choice(np.array([0, 0, 1, 0.5, 0.25], np.float32), int(lengths.sum()))
    parts = np.split(weights, np.cumsum(lengths)[:-1])
    # As a writer does it: some sequences, then the others.
    runs = np.concatenate([weight_runs(np.concatenate(parts[:90]), lengths[:90], 0),
                           weight_runs(np.concatenate(parts[90:]), lengths[90:], 90)])  # fmt: skip
    for number, part in enumerate(parts):
        assert weights_of(runs, number, (part > 0).astype(np.uint8)).tolist() == part.tolist()


@pytest.mark.parametrize("change", ["sequence", "end", "weight", "order", "type", "text"])
def test_what_does_not_fit_the_dataset_is_refused(change: str, tmp_path: Path) -> None:
    runs = np.array([(0, 1, 2, 0.5), (1, 0, 3, 0.25)], RUN)
    lengths, path = np.array([4, 3]), tmp_path / "a.loss_weights.npy"
    np.save(path, runs)
    assert (read_runs(path, lengths) == runs).all()
    match change:
        case "sequence" | "end" | "weight":
            runs[change][1] = 4
        case "order":
            runs = runs[::-1]
        case "type":
            runs = np.zeros(2)
    np.save(path, runs)
    if change == "text":
        path.write_text("no weights")
    with pytest.raises(UserError, match="overwrite=true"):
        read_runs(path, lengths)
