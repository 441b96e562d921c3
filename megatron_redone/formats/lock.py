"""One process at a time in a place; the system lets go when the process ends, however it ends."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from megatron_redone.errors import UserError

log = logging.getLogger(__name__)

LOCK_NAME = ".lock"


@contextmanager
def folder_lock(folder: Path, key: str = "output_dir") -> Iterator[Path]:
    """Makes a folder, and keeps a second run away from it.

    Args:
        folder: What only one process may write to.
        key: The configuration's key that names it, for the messages.

    Raises:
        UserError: another process writes there, or nobody can.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{key}: {folder} cannot be written to ({error.strerror})") from None
    with exclusive(folder / LOCK_NAME, folder):
        yield folder


@contextmanager
def exclusive(file: Path, place: Path) -> Iterator[None]:
    """Holds a lock file, which is gone at the end.

    Args:
        file: The lock file.
        place: What it guards, for the messages.

    Raises:
        UserError: another process holds it, or it cannot be made.
    """
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{place}: another run is writing there") from None
    except OSError as error:
        raise UserError(f"{place} cannot be written to ({error.strerror})") from None
    try:
        yield
    finally:
        # While it is still held: whoever waits for this file finds it without a name, and takes a new one.
        file.unlink(missing_ok=True)
        lock.release()


def wait_until_free(file: Path, notice: str) -> None:
    """Waits until nobody holds a lock file, and removes it.

    Args:
        file: The lock file.
        notice: Logged as a warning where somebody holds it.
    """
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.warning("%s", notice)
        lock.acquire()
    file.unlink(missing_ok=True)
    lock.release()
