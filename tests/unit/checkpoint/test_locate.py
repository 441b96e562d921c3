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
    with pytest.raises(UserError, match=r"run has no best\.json that names one"):
        find_checkpoint(run / "best")


@pytest.mark.parametrize(
    ("word", "folder"),
    [("7", "iter_0000007"), ("release\n", "release"), ("../run", None), ("\udcff", None), ("", None)],
)
def test_megatron_lm_s_own_folder_and_nothing_outside_it(tmp_path: Path, word: str, folder: str | None) -> None:
    for name in ("run", "other/iter_0000007", "other/release"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / ".metadata").write_text("")
    latest = tmp_path / "other" / "latest_checkpointed_iteration.txt"
    latest.write_bytes(word.encode(errors="surrogateescape"))
    if folder is not None:
        assert find_checkpoint(tmp_path / "other") == tmp_path / "other" / folder
        return
    with pytest.raises(UserError, match="no distributed checkpoint"):
        find_checkpoint(tmp_path / "other")
