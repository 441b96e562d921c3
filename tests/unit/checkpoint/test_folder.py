"""A checkpoint is there whole or not at all, whenever the machine goes down."""

from pathlib import Path

import pytest

from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.checkpoint.record import TrainState, collect_hf_files, is_checkpoint, read_state, write_record
from megatron_redone.errors import UserError


def save(folder: CheckpointFolder, step: int, text: str = "x") -> Path:
    (folder.begin(step) / "weights").write_text(text)
    return folder.commit(step)


def test_what_is_not_committed_is_not_seen(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.latest() is None and folder.steps() == []
    folder.begin(5)
    assert folder.latest() is None and folder.steps() == []
    assert save(folder, 5) == folder.latest() == folder.of_step(5)
    (folder.begin(6) / "weights").write_text("half")
    assert folder.latest() == folder.of_step(5)
    folder.abandon(6)
    assert sorted(p.name for p in folder.path.iterdir()) == ["latest", "step-00000005"]


def test_a_crash_between_the_rename_and_latest_loses_nothing(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 5)
    save(folder, 10)
    (tmp_path / "latest").unlink()
    assert folder.latest() == folder.of_step(10)
    (tmp_path / "latest").write_text("step-00000099\n")
    assert folder.latest() == folder.of_step(10)


def test_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 5, "old")
    assert (save(folder, 5, "new") / "weights").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000005"]


@pytest.mark.parametrize(
    ("keep_last", "keep_every", "kept"),
    [(1, None, [9]), (2, 3, [3, 6, 8, 9]), (None, None, list(range(1, 10))), (20, None, list(range(1, 10)))],
)
def test_what_is_kept(tmp_path: Path, keep_last: int | None, keep_every: int | None, kept: list[int]) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in range(1, 10):
        save(folder, step)
    folder.prune(keep_last, keep_every)
    assert folder.steps() == kept


def test_the_record_is_read_back(tmp_path: Path) -> None:
    model, tokenizer, checkpoint = tmp_path / "model", tmp_path / "tokenizer", tmp_path / "step-1"
    for path, names in {model: ["config.json", "model.safetensors"], tokenizer: ["tokenizer.json"]}.items():
        path.mkdir()
        for name in names:
            (path / name).write_text(name)
    state = TrainState(step=3, consumed_samples=24, consumed_tokens=768, data={"seed": 1})
    write_record(checkpoint, "a: 1\n", state, collect_hf_files(model / "config.json", tokenizer))
    assert read_state(checkpoint) == state and is_checkpoint(checkpoint)
    assert sorted(p.name for p in (checkpoint / "run/hf").iterdir()) == ["config.json", "tokenizer.json"]
    with pytest.raises(UserError, match="not a checkpoint of a training run"):
        read_state(model)
