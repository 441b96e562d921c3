"""A live line for work over a corpus: megabytes, tokens, their rates, and the time left."""

import logging
import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

_LOG_EVERY_S = 30.0  # where standard error is a file rather than a terminal


class CorpusProgress:
    """Shows counters (bytes, documents, tokens) that other processes advance."""

    def __init__(self, total_bytes: int, counters: Any) -> None:
        """Begins at zero.

        Args:
            total_bytes: What the first counter will come to.
            counters: A shared array that can be indexed.
        """
        self._total = total_bytes
        self._counters = counters
        self._started = time.monotonic()
        self._logged = self._started
        self._is_terminal = sys.stderr.isatty()
        self._progress = Progress(
            BarColumn(30),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[rates]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._is_terminal,
        )
        self._task = self._progress.add_task("", total=max(1, total_bytes), rates="")

    def __enter__(self) -> "CorpusProgress":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.refresh()
        self._progress.stop()

    def refresh(self) -> None:
        """Shows where the counters stand."""
        done = self._counters[0]
        self._progress.update(self._task, completed=done, rates=self._rates())
        now = time.monotonic()
        if not self._is_terminal and now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            left = (now - self._started) * (self._total - done) / max(1, done)
            log.info("%3.0f %%  %s  %.0f s left", 100 * done / max(1, self._total), self._rates(), left)

    def _rates(self) -> str:
        seconds = max(1e-3, time.monotonic() - self._started)
        size, _, tokens = self._counters[:]
        return (
            f"{size / 1e6:,.0f} of {self._total / 1e6:,.0f} MB, {size / 1e6 / seconds:,.1f} MB/s, "
            f"{tokens / 1e6:,.1f} M tokens, {tokens / 1e6 / seconds:,.2f} M/s"
        )
