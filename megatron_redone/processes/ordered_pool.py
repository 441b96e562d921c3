"""Work spread over processes, whose results come in the order of the work."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar

from megatron_redone.errors import UserError
from megatron_redone.processes.parent import die_with_parent
from megatron_redone.processes.termination import clean_end_on_sigterm

Work = TypeVar("Work")
Result = TypeVar("Result")

# Units of work handed out for each process: enough that none waits, few enough that results do not pile up.
_AHEAD = 4


class OrderedPool(Generic[Work, Result]):
    """Processes that each build one worker and hand it unit after unit; with one process, this one does it all.

    A context manager; leaving it by an error does not wait for what is being worked on, and SIGTERM is such an error.
    """

    def __init__(self, processes: int, build: Callable[..., Callable[[Work], Result]], *arguments: Any) -> None:
        """Starts the processes.

        Args:
            processes: How many.
            build: Called once in each process; returns what does the work.
            arguments: Of `build`; they and `build` are pickled.
        """
        self._processes = processes
        self._ending = clean_end_on_sigterm()
        self._here = build(*arguments) if processes == 1 else None
        self._pool = None
        if processes > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, context, _start, (build, arguments))

    def map(self, work: Iterable[Work]) -> Iterator[tuple[Work, Result]]:
        """Every unit with its result, in the order of the units.

        Raises:
            UserError: as the worker does; or a process was killed.
        """
        if self._here is not None:
            yield from ((unit, self._here(unit)) for unit in work)
            return
        assert self._pool is not None
        pending: deque[tuple[Work, Future[Any]]] = deque()
        for unit in work:
            pending.append((unit, self._pool.submit(_work, unit)))
            if len(pending) >= _AHEAD * self._processes:
                yield _first(pending)
        while pending:
            yield _first(pending)

    def __enter__(self) -> "OrderedPool[Work, Result]":
        self._ending.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._ending.__exit__(None, None, None)
        if self._pool is None:
            return
        if kind is not None:
            for process in multiprocessing.active_children():
                process.terminate()
        with suppress(OSError):  # the pool's own pipes, whose other ends have just been terminated
            self._pool.shutdown(cancel_futures=True)


def worker_was_killed() -> UserError:
    """What is told of a process that ended without having been asked to."""
    return UserError(
        "a worker process was killed, perhaps for want of memory; run the same command again, it goes on where it "
        "was (fewer workers need less memory)"
    )


def _first(pending: "deque[tuple[Work, Future[Any]]]") -> tuple[Work, Any]:
    unit, future = pending.popleft()
    try:
        result = future.result()
    except BrokenProcessPool:
        raise worker_was_killed() from None
    if isinstance(result, UserError):
        raise result
    return unit, result


# A process pool hands its functions plain arguments, so what a process keeps between calls stands here.
_worker: list[Callable[[Any], Any]] = []


def _start(build: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=die_with_parent, daemon=True).start()
    # The processes share the cores already: threads of the tokenizers library in each would fight over them.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker.append(build(*arguments))


def _work(unit: Any) -> Any:
    try:
        return _worker[0](unit)
    except UserError as error:
        return error
