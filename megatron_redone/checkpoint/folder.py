"""The folder of a run's checkpoints: names, the commit by a rename, and what is kept.

    step-00000500/       complete; made by the rename of step-00000500.partial
    latest               the name of the newest complete one, and a line with its checksum; written by hand without
    best.json            where one is kept for its metrics: its step, the metric and the value

A reader never meets half a checkpoint: everything is on the disk before the rename, and `latest` is
written after it.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from megatron_redone.checkpoint.record import step_of_name
from megatron_redone.errors import DamageError, UserError
from megatron_redone.formats.atomic import (
    atomic_file,
    begin_folder,
    commit_folder,
    partial_name,
    remove_folder,
)
from megatron_redone.formats.done_check import is_sealed, write_sealed
from megatron_redone.hashing import short_hash

log = logging.getLogger(__name__)

_LATEST = "latest"
_BEST = "best.json"


class CheckpointFolder:
    """The checkpoints of one run. Methods that write are for one process."""

    def __init__(self, path: Path) -> None:
        """Takes the folder, which need not exist yet."""
        self.path = path

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, ascending."""
        if not self.path.is_dir():
            return []
        found = (step_of_name(entry.name) for entry in self.path.iterdir() if entry.is_dir())
        return sorted(step for step in found if step is not None)

    def of_step(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.path / f"step-{step:08d}"

    def partial(self, step: int) -> Path:
        """Where the checkpoint of a step lies while it is written."""
        return partial_name(self.of_step(step))

    def latest(self) -> Path | None:
        """The checkpoint that `latest` names, or the newest where it names none of this folder; None without any.

        Raises:
            DamageError: the name is not the one that was written.
        """
        named = self._read_latest()
        if named is not None:
            return named
        # Somebody removed or damaged it, or the machine went down between the rename and `latest`.
        steps = self.steps()
        return self.of_step(steps[-1]) if steps else None

    def before(self, checkpoint: Path) -> Path | None:
        """The newest checkpoint of an earlier step; None without any."""
        own = step_of_name(checkpoint.name)
        earlier = [step for step in self.steps() if own is not None and step < own]
        return self.of_step(earlier[-1]) if earlier else None

    def _read_latest(self) -> Path | None:
        """The name is one of this folder's own: nothing leads out of it."""
        try:
            name, _, seal = (self.path / _LATEST).read_text(encoding="utf-8").strip().partition("\n")
        except (OSError, UnicodeDecodeError):
            return None
        step = step_of_name(name)
        if step not in self.steps():
            return None
        if seal and seal != short_hash(name):  # another of this folder's checkpoints, by chance
            raise DamageError(f"{self.path / _LATEST}: damaged; write the name of the checkpoint that is meant into it")
        return self.of_step(step)

    def begin(self, step: int) -> Path:
        """An empty folder to write the checkpoint of a step to.

        Raises:
            UserError: it cannot be made.
        """
        partial = self.partial(step)
        try:
            begin_folder(partial)
        except OSError as error:
            raise UserError(f"checkpoint.save_dir: {self.path} cannot be written to ({error.strerror})") from None
        return partial

    def commit(self, step: int) -> Path:
        """Gives the written checkpoint its name, then names it as the latest.

        Raises:
            OSError: it could not be written.
        """
        final = self.of_step(step)
        # Its name lies on the disk before the rename: where the disk is full, neither appears.
        with atomic_file(self.path / _LATEST) as stream:
            stream.write(f"{final.name}\n{short_hash(final.name)}\n")
            stream.flush()
            commit_folder(self.partial(step), final)  # in place of the same step, after a resume from an earlier one
        return final

    def clean_up(self) -> None:
        """Removes what killed saves and removals have left, before a run begins or goes on.

        Raises:
            UserError: best.json is damaged: what it keeps would be removed as if it were not the best.
        """
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            name, _, ending = entry.name.rpartition(".")
            if ending in ("partial", "removed") and step_of_name(name) is not None:
                shutil.rmtree(entry, ignore_errors=True)
                log.info("removed %s, which a save that was killed has left", entry)
        self._read_best()

    def abandon(self, step: int) -> None:
        """Removes what was written of a checkpoint that failed."""
        shutil.rmtree(self.partial(step), ignore_errors=True)

    def prune(self, keep_last: int | None, keep_every: int | None, up_to: int | None = None) -> None:
        """Removes checkpoints that are neither among the newest, nor at a multiple of `keep_every`, nor the best.

        Args:
            keep_last: So many of the newest stay; None keeps all.
            keep_every: Those at its multiples stay; None for none.
            up_to: The step at which the run is: one that went back to an earlier checkpoint counts from there, and
                leaves later ones until it comes to them. None counts from the last.
        """
        if keep_last is None:
            return
        best = self._read_best().get("step")
        steps = [step for step in self.steps() if up_to is None or step <= up_to]
        for step in steps[:-keep_last]:
            if step != best and (keep_every is None or step % keep_every):
                remove_folder(self.of_step(step))

    def mark_best(self, step: int, metric: str, value: float) -> None:
        """Names the checkpoint that is best by a metric; it stays until another one is."""
        write_sealed(self.path / _BEST, {"step": step, "checkpoint": self.of_step(step).name, metric: value})

    def forget_later_best(self, step: int) -> None:
        """Forgets a best checkpoint of a later step: a run that goes back may save that step again."""
        best = self._read_best().get("step")
        if best is not None and best > step:
            (self.path / _BEST).unlink()
            log.warning("step %d was the best, and the run goes on from %d: the best is looked for anew", best, step)

    def best_value(self, metric: str) -> float | None:
        """The value of the best checkpoint by a metric, or None where there is none.

        Raises:
            UserError: best.json is damaged.
        """
        value = None if self.best() is None else self._read_best().get(metric)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise self._damaged_best(f"{metric} is {value!r}")
        return value

    def best(self) -> Path | None:
        """The best checkpoint, or None where there is none.

        Raises:
            UserError: best.json is damaged.
        """
        best = self._read_best()
        found = self.of_step(best["step"]) if "step" in best else None
        return found if found is not None and found.is_dir() else None

    def _read_best(self) -> dict[str, Any]:
        try:
            content = json.loads((self.path / _BEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._damaged_best(str(error)) from None
        step = content.get("step") if isinstance(content, dict) else None
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise self._damaged_best("it names no step")
        if not is_sealed(content):
            raise self._damaged_best("its checksum differs")
        return content

    def _damaged_best(self, reason: str) -> UserError:
        return UserError(f"{self.path / _BEST}: damaged ({reason}); remove it, and the best is looked for anew")
