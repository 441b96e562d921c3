"""What a worker process owes to the process that started it."""

import os
from multiprocessing import parent_process
from typing import Any


def die_with_parent() -> None:
    """Ends the process when its parent was killed, lest it write where the next run writes."""
    die_with(parent_process())


def die_with(parent: Any) -> None:
    """Waits for a parent process, as `multiprocessing` or a library like it names it, and ends this one."""
    assert parent is not None, "not a child process"
    parent.join()
    os._exit(1)
