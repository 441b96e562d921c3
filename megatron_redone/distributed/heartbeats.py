"""What every process says about itself, where all others can read it though they wait in a collective.

Over a connection of its own to the store in which the processes have met: nothing here waits for another process.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import timedelta

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

_SECONDS = 5.0  # that the store has for an answer


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a rank says.

    Attributes:
        count: Rises with every beat of a process that lives.
        step: The last one that it has finished.
        place: Where its main thread is, as text.
        waits: Whether it waits there for other ranks.
        own_seconds: Of its own work a step lately; 0 before there is any.
        host: The name of its machine.
        process: Its number there.
        ended: Why it trains no more; empty while it does.
    """

    count: int
    step: int
    place: str
    waits: bool
    own_seconds: float
    host: str
    process: int
    ended: str = ""


class StoreGoneError(ConnectionError):
    """The store, or the process that holds it, does not answer."""


class Heartbeats:
    """The beats of a run's processes. To be used by one thread at a time."""

    def __init__(self, rank: int, world_size: int) -> None:
        """Connects, by torchrun's environment variables.

        Raises:
            StoreGoneError: nobody answers there.
        """
        self._rank, self._world_size = rank, world_size
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        try:
            store = TCPStore(
                address, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=_SECONDS)
            )
        except (RuntimeError, OSError) as error:
            raise StoreGoneError(str(error)) from None
        self._store = PrefixStore(f"redone/beats/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)

    def post(self, beat: Beat) -> None:
        """Says it in the place of what this rank said before.

        Raises:
            StoreGoneError: nobody takes it.
        """
        try:
            self._store.set(str(self._rank), json.dumps(asdict(beat)))
        except (RuntimeError, OSError) as error:
            raise StoreGoneError(str(error)) from None

    def read(self) -> dict[int, Beat]:
        """The last beat of every rank that has said one.

        Raises:
            StoreGoneError: there is no answer.
        """
        try:
            there = [rank for rank in range(self._world_size) if self._store.check([str(rank)])]
            found = self._store.multi_get([str(rank) for rank in there]) if there else []
        except (RuntimeError, OSError) as error:
            raise StoreGoneError(str(error)) from None
        return {rank: Beat(**json.loads(text)) for rank, text in zip(there, found, strict=True)}
