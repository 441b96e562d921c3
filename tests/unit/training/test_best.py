"""The best checkpoint is the best number, in the direction that is better; what is not a number is never best."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.config.checkpoint import CheckpointConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import destroy_context, start_context
from megatron_redone.errors import UserError
from megatron_redone.training.best import BestSaver, check_best_metric
from tests.helpers.one_process import finished


@pytest.fixture(autouse=True)
def process_groups():
    start_context(ParallelConfig(), Device.cpu)
    yield
    destroy_context()


def kept(folder: Path, metric: str, values: list[float], first_step: int = 1) -> list[int]:
    """The steps that became the best, one after the other, of a run that validates these values."""
    checkpoints, found = CheckpointFolder(folder), []

    def save_as_best(state: Any, name: str, value: float) -> None:
        found.append(state.step)
        saver.best = value
        if not checkpoints.of_step(state.step).is_dir():
            checkpoints.begin(state.step)
            checkpoints.commit(state.step)
        checkpoints.mark_best(state.step, name, value)

    by_step = dict(enumerate(values, first_step))
    saver: Any = SimpleNamespace(best=checkpoints.best_value(metric), save_as_best=save_as_best)
    validator: Any = SimpleNamespace(metrics_of=lambda step: {metric: by_step[step]} if step in by_step else {})
    callback = BestSaver(CheckpointConfig(best_metric=metric), saver, validator)
    for step in range(1, first_step + len(values) + 1):
        callback.after_step(finished(step))
    return found


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("validation/a/loss", [3.0, 2.0, 2.5, 2.0, 1.0], [1, 2, 5]),
        ("validation/a/perplexity", [3.0, 4.0], [1]),
        ("validation/a/accuracy", [0.5, 0.4, 0.6, 0.6], [1, 3]),
        ("validation/a/margin", [-1.0, 0.0, -0.5], [1, 2]),
        ("validation/margin/loss", [3.0, 4.0], [1]),
        ("validation/a/loss", [math.nan, 3.0, math.nan, 2.0, 4.0], [2, 4]),
        ("validation/a/accuracy", [math.nan, 0.1, math.nan], [2]),
        ("validation/a/loss", [math.nan, math.nan], []),
    ],
)
def test_what_becomes_the_best(tmp_path: Path, metric: str, values: list[float], best: list[int]) -> None:
    assert kept(tmp_path, metric, values) == best


def test_a_resumed_run_compares_with_the_best_before(tmp_path: Path) -> None:
    assert kept(tmp_path, "validation/a/loss", [2.0, 1.5]) == [1, 2]
    assert kept(tmp_path, "validation/a/loss", [1.7, 1.4], first_step=3) == [4]


def test_nan_that_an_earlier_run_kept_is_replaced(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.begin(1)
    folder.commit(1)
    folder.mark_best(1, "validation/a/loss", math.nan)
    assert kept(tmp_path, "validation/a/loss", [9.0], first_step=2) == [2]
    assert json.loads((tmp_path / "best.json").read_text())["validation/a/loss"] == 9.0


def test_a_metric_that_is_not_there() -> None:
    check_best_metric(CheckpointConfig(best_metric="validation/a/loss"), ["a"])
    check_best_metric(CheckpointConfig(), [])
    with pytest.raises(UserError, match=r"'validation/b/loss' is not validated; such metrics are validation/a/loss"):
        check_best_metric(CheckpointConfig(best_metric="validation/b/loss"), ["a"])
    with pytest.raises(UserError, match=r"none: data\.validation is empty"):
        check_best_metric(CheckpointConfig(best_metric="validation/b/loss"), [])


def test_a_misspelt_metric_names_what_there_is(tmp_path: Path) -> None:
    saver: Any = SimpleNamespace(best=None)
    validator: Any = SimpleNamespace(metrics_of=lambda step: {"validation/a/loss": 1.0})
    callback = BestSaver(CheckpointConfig(best_metric="validation/a/lose"), saver, validator)
    with pytest.raises(UserError, match="no metric 'validation/a/lose'; there are validation/a/loss"):
        callback.after_step(finished(1))
