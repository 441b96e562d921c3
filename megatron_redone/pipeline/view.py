"""How a person watches a pipeline: a live table on a terminal, plain lines elsewhere."""

import logging
import re
import time
from collections.abc import Sequence
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from megatron_redone.metrics.progress import duration
from megatron_redone.pipeline.plan import PlannedStage

log = logging.getLogger(__name__)

_LINE_EVERY_S = 30.0
_REFRESH_EVERY_S = 0.5
# A fraction of the work that is large enough to tell the rest of the time by.
_TELLING = 0.05
_PROGRESS = [
    re.compile(r"\bstep +(?P<done>\d+)/(?P<all>\d+)\b"),
    re.compile(r"\b(?P<done>\d[\d,]*) of (?P<all>\d[\d,]*) [a-z]"),
    re.compile(r"^ *(?P<done>\d+) %"),
]


def progress_of(line: str) -> float | None:
    """The fraction of the work that is done, where a line of a stage's log tells it."""
    for pattern in _PROGRESS:
        match = pattern.search(line)
        if match is not None:
            done, all = (int(match.groupdict().get(name, "100").replace(",", "")) for name in ("done", "all"))
            return min(1.0, done / all) if all else None
    return None


class Forecast:
    """Seconds that are left, by how long stages took before, or by what their `minutes` say."""

    def __init__(self, stages: Sequence[PlannedStage]) -> None:
        """Takes the stages that are to run, in order."""
        self._expected = [_expected(stage) for stage in stages]
        self._taken: list[float] = []

    def finished(self, seconds: float) -> None:
        """The next stage has taken so long."""
        self._taken.append(seconds)

    def left(self, elapsed: float, fraction: float | None) -> float | None:
        """Until the end of the last stage, or None where that cannot be told.

        Args:
            elapsed: Seconds of the stage that is running.
            fraction: Of its work that is done, where that is known.
        """
        speed = self._speed()
        now, *later = self._expected[len(self._taken) :]
        own = None if now is None else max(0.0, speed * now - elapsed)
        if fraction is not None and fraction >= _TELLING:
            own = elapsed / fraction - elapsed
        parts = [own, *(None if seconds is None else speed * seconds for seconds in later)]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    def _speed(self) -> float:
        """How much longer the stages take here than expected."""
        pairs = [(e, t) for e, t in zip(self._expected, self._taken, strict=False) if e is not None]
        expected = sum(pair[0] for pair in pairs)
        return sum(pair[1] for pair in pairs) / expected if expected else 1.0


def _expected(stage: PlannedStage) -> float | None:
    if stage.before is not None and stage.before.seconds is not None:
        return stage.before.seconds
    return None if stage.entry.minutes is None else 60 * stage.entry.minutes


class View(Protocol):
    """What the pipeline tells."""

    def __enter__(self) -> "View":
        """Begins to show."""
        ...

    def __exit__(self, *_: Any) -> None:
        """Leaves what was shown last."""
        ...

    def begin(self, stage: PlannedStage) -> None:
        """A stage begins."""
        ...

    def look(self, lines: Sequence[str]) -> None:
        """Its log has grown by so many lines, perhaps none."""
        ...

    def end(self, seconds: float) -> None:
        """It has come to its end."""
        ...


def open_view(plan: Sequence[PlannedStage]) -> View:
    """The view that fits standard error."""
    console = Console(stderr=True)
    return _LiveView(plan, console) if console.is_terminal else _PlainView(plan)


class _Watch:
    """Where the stage that is running stands."""

    def __init__(self, plan: Sequence[PlannedStage]) -> None:
        self._forecast = Forecast([stage for stage in plan if stage.is_due])
        self.stage: PlannedStage | None = None
        self.begin_next(None)

    def begin_next(self, stage: PlannedStage | None) -> None:
        self.stage, self.line, self.fraction = stage, "", None
        self._began = time.monotonic()

    def look(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.line = line
            fraction = progress_of(line)
            self.fraction = self.fraction if fraction is None else fraction

    def finished(self, seconds: float) -> None:
        self._forecast.finished(seconds)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def time_left(self) -> str:
        left = self._forecast.left(self.elapsed, self.fraction)
        return "" if left is None else f"{duration(left)} left in all"


class _PlainView:
    """A line when a stage begins and ends, and every half minute what its log says."""

    def __init__(self, plan: Sequence[PlannedStage]) -> None:
        self._watch, self._count, self._told = _Watch(plan), len(plan), 0.0

    def __enter__(self) -> "_PlainView":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def begin(self, stage: PlannedStage) -> None:
        self._watch.begin_next(stage)
        self._told = time.monotonic()
        log.info("%s begins: %s", self._head(), "; ".join(stage.reasons))

    def look(self, lines: Sequence[str]) -> None:
        self._watch.look(lines)
        if time.monotonic() - self._told >= _LINE_EVERY_S:
            self._told = time.monotonic()
            parts = [duration(self._watch.elapsed), self._watch.time_left(), self._watch.line]
            log.info("%s %s", self._head(), ", ".join(part for part in parts if part))

    def end(self, seconds: float) -> None:
        log.info("%s done in %s", self._head(), duration(seconds))
        self._watch.finished(seconds)

    def _head(self) -> str:
        assert self._watch.stage is not None
        stage = self._watch.stage
        return f"[{stage.number}/{self._count}] {stage.entry.name}:"


class _LiveView:
    """All stages, with what each has come to; below them the newest line of the log."""

    def __init__(self, plan: Sequence[PlannedStage], console: Console) -> None:
        self._plan, self._watch = plan, _Watch(plan)
        self._ended: dict[str, float] = {}
        self._drawn = 0.0
        # No thread of its own: stages are started by a fork.
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._draw)

    def __enter__(self) -> "_LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._live.refresh()
        self._live.stop()

    def begin(self, stage: PlannedStage) -> None:
        self._watch.begin_next(stage)
        self._live.refresh()

    def look(self, lines: Sequence[str]) -> None:
        self._watch.look(lines)
        if time.monotonic() - self._drawn >= _REFRESH_EVERY_S:
            self._drawn = time.monotonic()
            self._live.refresh()

    def end(self, seconds: float) -> None:
        assert self._watch.stage is not None
        self._ended[self._watch.stage.entry.name] = seconds
        self._watch.finished(seconds)
        self._watch.begin_next(None)
        self._live.refresh()

    def _draw(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for stage in self._plan:
            table.add_row(*self._row(stage))
        running = self._watch.stage is not None
        foot = [Text(self._watch.line, "dim", no_wrap=True, overflow="ellipsis"), Text(self._watch.time_left(), "bold")]
        return Group(table, *(foot if running else []))

    def _row(self, stage: PlannedStage) -> tuple[Text, Text, Text]:
        name = stage.entry.name
        if name in self._ended:
            return Text("✓", "green"), Text(name), Text(f"done in {duration(self._ended[name])}")
        if self._watch.stage is stage:
            fraction = "" if self._watch.fraction is None else f"{self._watch.fraction:.0%}, "
            return Text("▶", "cyan"), Text(name, "bold"), Text(f"{fraction}{duration(self._watch.elapsed)}", "bold")
        if not stage.chosen:
            return Text(" "), Text(name, "dim"), Text("left as it is", "dim")
        if not stage.reasons:
            return Text("✓", "dim"), Text(name, "dim"), Text("up to date", "dim")
        return Text("·"), Text(name), Text("; ".join(stage.reasons), "dim", no_wrap=True, overflow="ellipsis")
