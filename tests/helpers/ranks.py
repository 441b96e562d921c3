"""A pool of processes for tests that need several ranks over gloo.

Starting a rank costs seconds of imports, so the processes are kept for the test session:

    results = run_on_ranks(4, function, *args)  # -> what each rank returned, rank 0 first

`function` is one that another process can import by name, args and results must pickle. Each call has
torchrun's environment variables with a port of its own; process groups that the function leaves are
ended after it. A rank that raises fails the test with its traceback; a rank that hangs fails it with
the stacks of all, and the pool starts anew for the next test.
"""

import atexit
import contextlib
import faulthandler
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import cached_property
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any

START_TIMEOUT = 120.0  # seconds until a new process must have said hello
_AUTHKEY = os.urandom(16)


class RankFailure(AssertionError):
    """What went wrong on a rank."""


def run_on_ranks(world_size: int, function: Callable[..., Any], *args: Any, timeout: float = 240.0) -> list[Any]:
    """Runs `function(*args)` on `world_size` ranks at once.

    Args:
        world_size: How many ranks; the pool grows to it.
        function: Importable by its module and name.
        args: The same for every rank.
        timeout: Seconds after which the ranks are taken to hang.

    Returns:
        What each rank returned.

    Raises:
        RankFailure: when a rank raised, died or did not answer in time.
    """
    return _pool.run(world_size, function, args, timeout)


def stop_ranks() -> None:
    """Ends the pool; the next call starts another."""
    _pool.stop()


class _Rank:
    """One process of the pool."""

    def __init__(self) -> None:
        self.log = tempfile.TemporaryFile("w+")
        self.listener = Listener(family="AF_UNIX", authkey=_AUTHKEY)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
        command = [sys.executable, __file__, str(self.listener.address), _AUTHKEY.hex()]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)

    @cached_property
    def connection(self) -> Connection:
        """The way to the process; waits until it has started."""
        # Not offered by the public class, but a process that dies at once must not hang the test session.
        self.listener._listener._socket.settimeout(START_TIMEOUT)  # type: ignore[attr-defined]
        try:
            with self.listener:
                return self.listener.accept()
        except OSError:
            raise RankFailure(f"a rank did not start:\n{self.output()}") from None

    def output(self) -> str:
        """The end of what it has printed."""
        self.log.seek(0)
        return self.log.read()[-6000:]

    def stacks(self) -> str:
        """Where a process that hangs is."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
        return self.output()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if "connection" in self.__dict__:
            self.connection.close()


class _Pool:
    def __init__(self) -> None:
        self.ranks: list[_Rank] = []

    def run(self, world_size: int, function: Callable[..., Any], args: tuple[Any, ...], timeout: float) -> list[Any]:
        while len(self.ranks) < world_size:
            self.ranks.append(_Rank())
        port = _free_port()
        for rank, member in enumerate(self.ranks[:world_size]):
            variables = {
                **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            }
            # The arguments can be read only by a process that has the same path.
            job = (list(sys.path), variables, pickle.dumps((function, args)))
            member.connection.send_bytes(pickle.dumps(job))
        answers = self._collect(self.ranks[:world_size], timeout)
        failures = [f"rank {rank}:\n{text}" for rank, (ok, text) in enumerate(answers) if not ok]
        if failures:
            self.stop()
            raise RankFailure("\n".join(failures))
        return [value for _, value in answers]

    def _collect(self, members: list[_Rank], timeout: float) -> list[tuple[bool, Any]]:
        answers: dict[int, tuple[bool, Any]] = {}
        deadline = time.monotonic() + timeout
        while len(answers) < len(members):
            waiting = {m.connection: i for i, m in enumerate(members) if i not in answers}
            ready = wait(list(waiting), max(deadline - time.monotonic(), 0))
            if not ready:
                text = "\n".join(f"rank {i}:\n{members[i].stacks()}" for i in waiting.values())
                self.stop()
                raise RankFailure(f"no answer within {timeout:.0f} s from:\n{text}")
            for connection in ready:
                index = waiting[connection]  # type: ignore[index]
                answers[index] = _receive(members[index])
            if any(not ok for ok, _ in answers.values()):
                # The others may wait for a rank that has failed; they get little time to fail by themselves.
                deadline = min(deadline, time.monotonic() + 5)
        return [answers[i] for i in range(len(members))]

    def stop(self) -> None:
        for member in self.ranks:
            member.kill()
        self.ranks = []


def _receive(member: _Rank) -> tuple[bool, Any]:
    try:
        return pickle.loads(member.connection.recv_bytes())
    except (EOFError, ConnectionError):
        member.process.wait(10)
        return False, f"ended with exit code {member.process.returncode}:\n{member.output()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


_pool = _Pool()
atexit.register(_pool.stop)


def _serve(address: str, authkey: bytes) -> None:
    """The life of one rank."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    sys.path.insert(0, str(Path(__file__).parents[2]))
    connection = Client(address, authkey=authkey)
    _warm_up()
    untouched = dict(os.environ)
    while True:
        try:
            job = pickle.loads(connection.recv_bytes())
        except EOFError:  # the session is over
            return
        connection.send_bytes(pickle.dumps(_work(*job)))
        os.environ.clear()
        os.environ.update(untouched)


def _warm_up() -> None:
    import warnings

    import torch

    # megatron-core says on import what it lacks here.
    warnings.filterwarnings("ignore", module="megatron")
    torch.set_num_threads(1)


def _work(path: list[str], variables: dict[str, str], call: bytes) -> tuple[bool, Any]:
    sys.path[:] = path
    os.environ.update(variables)
    try:
        function, args = pickle.loads(call)
        return True, function(*args)
    except BaseException:  # SystemExit too: a test that expects it catches it itself
        return False, traceback.format_exc()
    finally:
        from megatron_redone.distributed import destroy_context

        destroy_context()
        gc.collect()  # groups in cycles of references keep dozens of threads each, which wake for every message


if __name__ == "__main__":
    _serve(sys.argv[1], bytes.fromhex(sys.argv[2]))
