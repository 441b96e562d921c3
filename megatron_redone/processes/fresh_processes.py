"""Units of work, each in a process of its own that leaves files; several at a time."""

import multiprocessing
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from megatron_redone.errors import UserError
from megatron_redone.processes.ordered_pool import worker_was_killed
from megatron_redone.processes.parent import die_with_parent
from megatron_redone.processes.termination import clean_end_on_sigterm

Unit = TypeVar("Unit")


@dataclass(frozen=True)
class _Running:
    process: Any
    answer: Connection
    slot: int


def run_each(work: Callable[[Unit, int], None], units: Sequence[Unit], at_once: int, preload: Sequence[str]) -> None:
    """Does every unit in a process that is forked from one in which everything is imported already.

    Args:
        work: What a process does with a unit, and the number of its slot (0 to `at_once` - 1); pickled.
        units: In the order in which they are begun; pickled.
        at_once: How many processes at the same time.
        preload: Modules to import before processes are forked.

    Raises:
        UserError: as a unit raised it, or a process was killed; those still at work are ended.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    waiting, free, running = list(units)[::-1], list(range(at_once))[::-1], list[_Running]()
    with clean_end_on_sigterm():
        try:
            while waiting or running:
                while waiting and free:
                    running.append(_begin(context, work, waiting.pop(), free.pop()))
                ended = wait([one.process.sentinel for one in running])
                for one in [one for one in running if one.process.sentinel in ended]:
                    running.remove(one)
                    free.append(one.slot)
                    _settle(one)
        finally:
            for one in running:
                one.process.terminate()
            for one in running:
                one.process.join()


def _begin(context: Any, work: Callable[[Any, int], None], unit: Any, slot: int) -> _Running:
    answer, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(work, unit, slot, theirs))
    process.start()
    theirs.close()
    return _Running(process, answer, slot)


def _settle(one: _Running) -> None:
    one.process.join()
    message: str | None = "killed"
    is_answered = False
    with one.answer, suppress(EOFError):
        message, is_answered = one.answer.recv(), True
    if not is_answered:
        raise worker_was_killed()
    if message is not None:
        raise UserError(message)


def _do(work: Callable[[Any, int], None], unit: Any, slot: int, answer: Connection) -> None:
    threading.Thread(target=die_with_parent, daemon=True).start()
    try:
        work(unit, slot)
        answer.send(None)
    except UserError as error:
        answer.send(str(error))
    except SystemExit as stop:
        answer.send(f"a process ended with code {stop.code}")
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        answer.send(f"a process failed: {type(error).__name__}: {' '.join(str(error).split())}")
