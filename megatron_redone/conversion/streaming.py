"""Reads ahead while a block is written, and has the disk begin to write at once."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, TypeVar

_END = object()
_AHEAD = 2  # blocks

T = TypeVar("T")


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items in order, the next ones made by another thread meanwhile; their errors arrive here."""
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = deque(thread.submit(next, iterator, _END) for _ in range(_AHEAD))
        while (item := coming.popleft().result()) is not _END:
            coming.append(thread.submit(next, iterator, _END))
            yield item  # type: ignore[misc]


class EarlyWriteBack:
    """Has the system write what a file got to the disk as it comes, instead of gigabytes of it at the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._done = stream, 0

    def step(self) -> None:
        """To be called after each block."""
        self._stream.flush()
        end = self._stream.tell()
        if hasattr(os, "posix_fadvise"):
            # Linux begins to write pages that are said not to be needed, waits for none, and frees the written.
            os.posix_fadvise(self._stream.fileno(), self._done, end - self._done, os.POSIX_FADV_DONTNEED)
        self._done = end
