"""Finds the checkpoint that a user means: a checkpoint, or the folder of a run."""

import re
from pathlib import Path

from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.errors import UserError

_BEST = "best"
_MEGATRON_LATEST = "latest_checkpointed_iteration.txt"


def find_checkpoint(path: Path) -> Path:
    """A distributed checkpoint: the folder itself, or what a run's folder or Megatron-LM's stands for.

    Raises:
        UserError: there is none.
    """
    if (path / ".metadata").is_file():
        return path
    found = checkpoint_of_run(path) or _megatron_latest(path)
    if found is None and path.name == _BEST and checkpoint_of_run(path.parent) is not None:
        raise UserError(f"checkpoint: {path.parent} has no best.json that names one of its checkpoints; take another")
    if found is None:
        raise UserError(
            f"checkpoint: {path} is no distributed checkpoint, and no run's folder with one (it has no .metadata)"
        )
    return found


def checkpoint_of_run(path: Path) -> Path | None:
    """The newest complete checkpoint of a run's folder, or of its checkpoints'; None where there is none.

    `RUN/best` stands for the one that `checkpoint.best_metric` has kept.
    """
    wants_best = path.name == _BEST and not path.exists()
    run = path.parent if wants_best else path
    folders = [CheckpointFolder(folder) for folder in (run, run / "checkpoints")]
    found = (folder.best() if wants_best else folder.latest() for folder in folders)
    return next((checkpoint for checkpoint in found if checkpoint is not None), None)


def _megatron_latest(path: Path) -> Path | None:
    if not (path / _MEGATRON_LATEST).is_file():
        return None
    word = (path / _MEGATRON_LATEST).read_bytes()[:20].strip()
    if not re.fullmatch(rb"\d{1,12}|release", word):  # all that Megatron-LM writes; nothing leads out of the folder
        return None
    folder = path / (f"iter_{int(word):07d}" if word.isdigit() else word.decode())
    return folder if (folder / ".metadata").is_file() else None
