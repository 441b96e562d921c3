"""One checkpoint on its way to the disk, in a thread of every rank, while the ranks go on or wait for it.

First every rank writes and flushes its part. When all have told that theirs is on the disk, the main rank joins the
parts and commits them, in its thread too. The ranks agree on where a save stands with a reduction of one number, and
where none is in flight they need not ask. Whatever fails on some rank is a problem of the save on all of them.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from enum import IntEnum
from pathlib import Path
from typing import Any

from megatron_redone.checkpoint.rank_part import GivenUpError, RankState, join_parts, write_part
from megatron_redone.distributed.collectives import broadcast_from_main, gather_to_main, largest
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import disk_reason
from megatron_redone.formats.folder_checksums import FileBlocks
from megatron_redone.processes.background import in_background

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0  # while ranks wait: less than any time-out of a collective


class _Status(IntEnum):
    """Where a rank stands; what the largest is, all ranks act upon."""

    done = 0
    failed = 1
    running = 2
    overdue = 3


class SaveInFlight:
    """A save that has begun; every rank has one of the same folder.

    Attributes:
        problem: After its end, why there is no checkpoint; the same on all ranks. None where there is one.
    """

    def __init__(
        self, state: RankState, folder: Path, commit: Callable[[FileBlocks], None], seconds: float = 3600.0
    ) -> None:
        """Begins to write.

        Args:
            state: Of this rank; its memory must not change before the end.
            folder: Empty; all ranks see it.
            commit: Called in a thread of the main rank when every rank's part is on the disk and described, with
                the checksums of their files.
            seconds: Until it counts as failed.
        """
        self._common, self._folder, self._commit = state.common, folder, commit
        self._deadline, self._seconds = time.monotonic() + seconds, seconds
        self._given_up = threading.Event()
        self._has_ended = self._is_joining = False
        self.problem: str | None = None
        self._work: Future[Any] = in_background(lambda: write_part(state, folder, self.check_wanted), "save")

    def look(self, seconds: float = 0.0) -> bool:
        """Whether it has come to its end. For all ranks.

        Args:
            seconds: How long this rank waits for what it does itself.
        """
        if self._has_ended:
            return True
        own = self._status(seconds)
        status = largest(own)
        if status == _Status.running:
            return False
        if status == _Status.done and not self._is_joining:
            self._begin_joining()
            return False
        if status != _Status.done:
            self._given_up.set()
            self.problem = self._first_problem(own)
        self._has_ended = True
        return True

    def wait(self) -> None:
        """Returns at its end, or when its time is over. For all ranks."""
        while not self.look(_LOOK_EVERY_S):
            pass

    def hangs(self) -> bool:
        """Whether on some rank a thread still works on it. For all ranks."""
        return bool(largest(int(not self._work.done())))

    def check_wanted(self) -> None:
        """Lets a thread go no further with what all ranks have given up.

        Raises:
            GivenUpError: they have.
        """
        if self._given_up.is_set():
            raise GivenUpError(f"{self._folder}: given up")

    def _status(self, seconds: float) -> _Status:
        wait([self._work], seconds)
        if not self._work.done():
            return _Status.running if time.monotonic() < self._deadline else _Status.overdue
        return _Status.done if self._work.exception() is None else _Status.failed

    def _begin_joining(self) -> None:
        everyones = gather_to_main((self._folder.name, self._work.result()))
        self._is_joining = True
        if everyones is None:  # another rank: its own work is done
            return
        assert {name for name, _ in everyones} == {self._folder.name}, everyones
        self._work = in_background(lambda: self._join([part for _, part in everyones]), "commit")

    def _join(self, parts: list[bytes]) -> None:
        blocks = join_parts(parts, self._common, self._folder)
        self.check_wanted()
        self._commit(blocks)

    def _first_problem(self, own: _Status) -> str | None:
        """Why there is no checkpoint; None where the main rank has committed it while the ranks agreed."""
        everyones = gather_to_main(self._own_problem(own))
        found = None
        if everyones is not None and not self._is_committed():
            rank, problem = next((rank, problem) for rank, problem in enumerate(everyones) if problem is not None)
            found = f"{problem}; rank {rank}"
        return broadcast_from_main(found)

    def _is_committed(self) -> bool:
        return self._is_joining and self._work.done() and self._work.exception() is None

    def _own_problem(self, own: _Status) -> str | None:
        """What this rank has voted for: meanwhile it may have come to another end."""
        if own is _Status.overdue:
            return f"it was not on the disk after {self._seconds:g} s"
        if own is not _Status.failed:
            return None
        error = self._work.exception()
        assert error is not None
        if isinstance(error, OSError):
            return disk_reason(error)
        if not isinstance(error, UserError):
            log.error("%s: saving failed", self._folder, exc_info=error)
        return " ".join(str(error).split()) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
