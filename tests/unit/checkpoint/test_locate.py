"""Which checkpoint a path stands for."""

from pathlib import Path

import pytest

from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.locate import checkpoint_of_run, find_checkpoint
from megatron_redone.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = CheckpointFolder(tmp_path / "run" / "checkpoints")
    for step in (2, 4, 6):
        (folder.begin(step) / ".metadata").write_text("")
        folder.commit(step)
    folder.mark_best(4, "validation/social/loss", 1.5)
    return tmp_path / "run"


def test_a_run_stands_for_its_newest_and_best_for_its_best(run: Path) -> None:
    checkpoints = run / "checkpoints"
    assert find_checkpoint(run) == find_checkpoint(checkpoints) == checkpoints / "step-00000006"
    assert find_checkpoint(run / "best") == find_checkpoint(checkpoints / "best") == checkpoints / "step-00000004"
    assert find_checkpoint(checkpoints / "step-00000002") == checkpoints / "step-00000002"


def test_a_run_without_a_best_one_is_told_so(run: Path) -> None:
    (run / "checkpoints" / "best.json").unlink()
    assert checkpoint_of_run(run / "best") is None
    with pytest.raises(UserError, match="best is no distributed checkpoint"):
        find_checkpoint(run / "best")
