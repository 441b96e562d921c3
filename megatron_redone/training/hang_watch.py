"""Watches over the steps from a thread of its own: ends a run that hangs, and says which rank is to blame.

A rank that waits in a collective cannot look around. Its watch can: it says where the rank is, reads what the others
say (`distributed/heartbeats.py`), and ends the process when no step has come for too long.
"""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import torch
from torch.utils.hooks import RemovableHandle

from megatron_redone.config.guards import GuardConfig
from megatron_redone.distributed.collectives import StoppedOnAllRanks
from megatron_redone.distributed.context import ParallelContext
from megatron_redone.distributed.heartbeats import Beat, Heartbeats, StoreGoneError
from megatron_redone.errors import EXIT_FAILURE, UserError
from megatron_redone.processes.parent import is_sibling
from megatron_redone.training.loop import Callback, FinishedStep
from megatron_redone.training.own_work import OwnWork, SlowRanks
from megatron_redone.training.place import Place, place_of
from megatron_redone.training.silence import describe_silence, ended_first, silent_ranks

log = logging.getLogger(__name__)

_LOOK = 0.1  # seconds between two looks at the main thread
_BEAT = 2.0  # at most, between two beats
_PATIENCE = 10.0  # seconds that the store has for all that is asked when a run ends
# How errors begin that a rank meets because another one has gone.
_OF_OTHERS = ("gloo", "nccl", "connection", "socket", "timed out", "broken pipe", "store")

_LEFT = Place("an error of a collective", waits=True)


class HangWatch:
    """To be entered by the main thread of every rank around the training loop; a callback of the loop besides."""

    def __init__(self, config: GuardConfig, context: ParallelContext, folder: Path) -> None:
        """Takes how long a step may take, this rank's place, and where stacks are written."""
        self._limit = None if config.hang_minutes is None else 60 * config.hang_minutes
        self._rank, self._world_size, self._folder = context.rank, context.world_size, folder
        self._period = min(_BEAT, (self._limit or 60) / 10)
        self._main = threading.get_ident()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for work, name in ((self._watch, "hang watch"), (self._speak, "heartbeat"))
        ]
        self._lock = threading.Lock()  # of the beats
        self._beats = Heartbeats(context.rank, context.world_size) if _meets_others(context) else None
        self._known: dict[int, Beat] = {}
        self._count, self._step, self._paused = 0, 0, 0
        self._left: Place | None = None  # where the main thread was, once an error has taken it out of the loop
        self._ends = threading.Event()  # set as soon as the watch has begun to end the process
        self._progress = time.monotonic()
        self._own = OwnWork()
        self._hooks: list[RemovableHandle] = []
        slow = config.slow_rank_factor if context.is_main and self._beats is not None else None
        self._slow = None if slow is None else SlowRanks(slow)

    def watch_forward(self, model_chunks: Sequence[torch.nn.Module]) -> None:
        """Takes every micro-batch that goes through the model for progress, those of validation too."""
        self._hooks += [chunk.register_forward_pre_hook(self._on_forward) for chunk in model_chunks]

    def after_step(self, step: FinishedStep) -> None:
        """Notes the progress."""
        self._step = step.state.step
        self._own.add_step()
        self._progress = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """For work beside the steps that has a limit of its own, such as saving."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1
            self._progress = time.monotonic()

    def __enter__(self) -> "HangWatch":
        self._progress = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is not None and _is_of_others(error):
            self._left = _LEFT
        self._stop.set()
        for hook in self._hooks:
            hook.remove()
        for thread in self._threads:
            thread.join(2 * self._period)
        if self._left is not None and self._ends.is_set():
            threading.Event().wait()  # the watch says why, once, and ends the process
        if error is not None and self._beats is not None and not isinstance(error, StoppedOnAllRanks):
            self._tell_end(error)

    def _on_forward(self, *_: object) -> None:
        self._progress = time.monotonic()

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK):
            self._own.look(place_of(self._main).waits)
            if self._limit is not None and not self._paused and time.monotonic() - self._progress > self._limit:
                self._ends.set()
                self._end_hanging()

    def _place(self) -> Place:
        return self._left or place_of(self._main)

    def _speak(self) -> None:
        """In a thread of its own: a store whose process is stopped keeps it waiting for ever."""
        wait = 0.0
        while self._beats is not None and not self._stop.wait(wait):
            wait = self._period
            with suppress(StoreGoneError):  # who is gone is told when this rank has to end
                self._beat()
                self._know_all()
                self._look_for_slow_ranks()

    def _beat(self, ended: str = "") -> None:
        if self._beats is None:
            return
        self._count += 1
        place = self._place()
        with self._lock:
            self._beats.post(
                Beat(
                    count=self._count,
                    step=self._step,
                    place=place.text,
                    waits=place.waits,
                    own_seconds=self._own.seconds,
                    host=socket.gethostname(),
                    process=os.getpid(),
                    ended=ended,
                )
            )

    def _know_all(self) -> None:
        """Reads once who the others are: the store may be gone when that matters."""
        if self._beats is not None and self._step and len(self._known) < self._world_size:
            self._known = self._read()

    def _look_for_slow_ranks(self) -> None:
        if self._slow is None or self._beats is None or not self._slow.is_due():
            return
        for line in self._slow.look(self._read()):
            log.warning("%s", line)

    def _end_hanging(self) -> None:
        """Says on the first rank that lives who waits for whom, and ends this process."""
        self._write_stacks()
        assert self._limit is not None
        begin = f"no step for {self._limit:.0f} s after step {self._step}"
        where = f"the stacks of all that live are in {self._folder}"
        if self._beats is None:
            self._end(f"{begin}: the process is in {self._place().text}; {where}", speaks=True, stopped=[])
        before, now, seconds = self._seen_twice()
        if not now:
            text = f"{begin}: rank {self._rank} is in {self._place().text}, and rank 0 does not answer: it is "
            holder = [self._known[0]] if 0 in self._known and self._rank else []
            self._end(f"{text}stopped or killed, or host or network is gone; {where}", speaks=True, stopped=holder)
        silent = silent_ranks(before, now, self._world_size)
        first = min(rank for rank in range(self._world_size) if rank not in silent)
        text = f"{begin}: {describe_silence(before, now, self._world_size, seconds)}; {where}"
        self._end(text, speaks=first == self._rank, stopped=[now[rank] for rank in silent if rank in now])

    def _seen_twice(self) -> tuple[dict[int, Beat], dict[int, Beat], float]:
        """What all have said by now and some time later, in which each that lives has said something.

        Empty where the store does not answer.
        """
        start, found = time.monotonic(), []

        def look() -> None:
            before = self._read()
            for _ in range(3):
                time.sleep(self._period)
                self._beat()
            found.append((before, self._read()))

        _in_time(look, 3 * self._period + _PATIENCE)
        before, now = found[0] if found else ({}, {})
        return before, now, time.monotonic() - start

    def _read(self) -> dict[int, Beat]:
        assert self._beats is not None
        with self._lock:
            return self._beats.read()

    def _end(self, text: str, *, speaks: bool, stopped: list[Beat]) -> None:
        if speaks:
            print(f"redone: {text}", file=sys.stderr, flush=True)
        for beat in stopped:  # a launcher would wait for a stopped process as long as for one that saves
            if beat.host == socket.gethostname() and is_sibling(beat.process):
                with suppress(ProcessLookupError):
                    os.kill(beat.process, signal.SIGKILL)
        # A launcher kills the others as soon as one has exited, and rank 0 may hold the store that they still read.
        time.sleep((2 if speaks else 4) * self._period)
        os._exit(EXIT_FAILURE)

    def _write_stacks(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._folder / f"rank-{self._rank}.txt", "a", encoding="utf-8") as stream:
                stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}, after step {self._step}\n")
                stream.flush()
                faulthandler.dump_traceback(stream, all_threads=True)
        except OSError as error:
            print(f"redone: {self._folder}: stacks could not be written ({error})", file=sys.stderr, flush=True)

    def _tell_end(self, error: BaseException) -> None:
        """Says why this rank ends; one that ends because another did says which."""
        if not _is_of_others(error):
            _in_time(lambda: self._beat(ended=_one_line(error)), _PATIENCE)
            if not isinstance(error, UserError):
                print(f"redone: rank {self._rank} ends: {_one_line(error)}", file=sys.stderr, flush=True)
            self._hold_store()
            return
        before, now, seconds = self._seen_twice()
        gone = [*ended_first(now), *silent_ranks(before, now, self._world_size)]
        if not now:
            text = "rank 0, or its host, is gone"
        elif gone:
            text = describe_silence(before, now, self._world_size, seconds)
        else:
            return
        others = [rank for rank in range(self._world_size) if rank not in gone]
        if self._rank == min(others, default=self._rank):
            print(f"redone: after step {self._step}: {text}", file=sys.stderr, flush=True)
        self._hold_store()
        if "TORCHELASTIC_RUN_ID" in os.environ:
            os._exit(EXIT_FAILURE)  # what waits for the others would keep an orderly end from coming
        raise StoppedOnAllRanks(EXIT_FAILURE, text) from None

    def _hold_store(self) -> None:
        """Stays until the others have read why: the store may end with rank 0."""
        if self._rank == 0:
            time.sleep(4 * self._period)


def unwatched(callback: Callback, watch: HangWatch) -> Callback:
    """A callback whose time is not a step's."""
    return _Unwatched(callback, watch)


class _Unwatched:
    def __init__(self, callback: Callback, watch: HangWatch) -> None:
        self._callback, self._watch = callback, watch

    def after_step(self, step: FinishedStep) -> None:
        with self._watch.paused():
            self._callback.after_step(step)


def _in_time(work: Callable[[], object], seconds: float) -> None:
    """Asks the store, which may not answer, and goes on after so many seconds in any case."""

    def ask() -> None:
        with suppress(StoreGoneError):
            work()

    thread = threading.Thread(target=ask, name="store", daemon=True)
    thread.start()
    thread.join(seconds)


def _meets_others(context: ParallelContext) -> bool:
    return context.world_size > 1 and "MASTER_ADDR" in os.environ


def _is_of_others(error: BaseException) -> bool:
    """Whether a rank met this because another has gone."""
    text = f"{type(error).__name__}: {error}".lower()
    return isinstance(error, (RuntimeError, OSError)) and any(word in text for word in _OF_OTHERS)


def _one_line(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"exit with code {error.code} in the midst of the run"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
