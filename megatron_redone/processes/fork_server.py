"""To be preloaded by a fork server: a process that is still being started when its parent ends says nothing of it.

It finds what the parent has handed to it gone. The parent has said why it ends; a traceback would hide that line.
"""

import os
import sys
import traceback
from types import TracebackType

_GONE = (FileNotFoundError, EOFError, ConnectionError)
_OF_STARTING = ("multiprocess/", "multiprocessing/")


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    last = traceback.extract_tb(trace)[-1:]
    is_starting = bool(last) and any(f"{os.sep}{folder}" in last[0].filename for folder in _OF_STARTING)
    if not (issubclass(kind, _GONE) and is_starting):
        sys.__excepthook__(kind, error, trace)


# What the server calls for an error of a process that it starts. A preload can do no more than be imported.
sys.excepthook = _tell
