"""Finds the checkpoint that a user means: a checkpoint, or the folder of a run."""

from pathlib import Path

from megatron_redone.checkpoint.folder import CheckpointFolder
from megatron_redone.errors import UserError

_MEGATRON_LATEST = "latest_checkpointed_iteration.txt"


def find_checkpoint(path: Path) -> Path:
    """A distributed checkpoint: the folder itself, or the newest one of a run's folder or of Megatron-LM's.

    Raises:
        UserError: there is none.
    """
    if (path / ".metadata").is_file():
        return path
    latest = newest_of_run(path) or _megatron_latest(path)
    if latest is None:
        raise UserError(
            f"checkpoint: {path} is no distributed checkpoint, and no run's folder with one (it has no .metadata)"
        )
    return latest


def newest_of_run(path: Path) -> Path | None:
    """The newest complete checkpoint in the folder of a run, or of its checkpoints; None where there is none."""
    for folder in (path, path / "checkpoints"):
        latest = CheckpointFolder(folder).latest()
        if latest is not None:
            return latest
    return None


def _megatron_latest(path: Path) -> Path | None:
    if not (path / _MEGATRON_LATEST).is_file():
        return None
    word = (path / _MEGATRON_LATEST).read_text().strip()
    folder = path / (f"iter_{int(word):07d}" if word.isdigit() else word)
    return folder if (folder / ".metadata").is_file() else None
