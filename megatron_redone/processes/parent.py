"""What a worker process owes to the process that started it."""

import os
from multiprocessing import parent_process


def die_with_parent() -> None:
    """Ends the process when its parent was killed, lest it write where the next run writes."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
