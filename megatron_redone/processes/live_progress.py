"""A live line for long work: a bar on a terminal, and a log line now and then where there is none."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

_LOG_EVERY_S = 30.0  # where standard error is a file rather than a terminal
_LOOK_EVERY_S = 0.5


class LiveProgress:
    """Shows how far work is for as long as it is entered; it looks by itself, the work need not call it."""

    def __init__(self, total: float, state: Callable[[], tuple[float, str]], title: str = "") -> None:
        """Prepares to show.

        Args:
            total: What the first number of `state` will come to.
            state: How much is done, and what stands beside the bar; called twice a second, in a thread.
            title: What stands before the bar.
        """
        self._total = max(total, 1e-9)
        self._state = state
        self._title = title + "  " if title else ""
        self._started = self._logged = time.monotonic()
        # Named now: others may put something else in its place while this is shown.
        self._stream = sys.stderr
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(30),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[text]}"),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            disable=not self._stream.isatty(),
        )
        self._task = self._progress.add_task(title, total=self._total, text="")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "LiveProgress":
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            self.show()
        self._progress.stop()

    def show(self) -> None:
        """Shows where the work stands now."""
        done, text = self._state()
        self._progress.update(self._task, completed=done, text=text)
        now = time.monotonic()
        if not self._stream.isatty() and now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            left = (now - self._started) * (self._total - done) / max(done, 1e-9)
            told = f"{left:.0f} s left" if done else "begun"
            log.info("%s%3.0f %%  %s  %s", self._title, 100 * done / self._total, text, told)

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            self.show()


def corpus_progress(total_bytes: int, counters: Any) -> LiveProgress:
    """A display of work over a corpus: megabytes, tokens, and their rates.

    Args:
        total_bytes: What the first counter will come to.
        counters: Bytes, documents and tokens done; the work, perhaps in other processes, advances them.
    """
    started = time.monotonic()

    def state() -> tuple[float, str]:
        seconds = max(1e-3, time.monotonic() - started)
        size, _, tokens = counters[:]
        return size, (
            f"{size / 1e6:,.0f} of {total_bytes / 1e6:,.0f} MB, {size / 1e6 / seconds:,.1f} MB/s, "
            f"{tokens / 1e6:,.1f} M tokens, {tokens / 1e6 / seconds:,.2f} M/s"
        )

    return LiveProgress(total_bytes, state)
