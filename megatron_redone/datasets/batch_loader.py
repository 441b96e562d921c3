"""Reads batches ahead of the training step, each with the state that follows it."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from megatron_redone.datasets.batches import BatchLayout, MicroBatch

_POLL_SECONDS = 0.1  # how soon a reader that waits for room notices that it is to stop


class Reader(Protocol):
    """Reads one rank's part of any global batch."""

    layout: BatchLayout

    def read(self, consumed_samples: int) -> list[MicroBatch]:
        """The rank's micro-batches of the global batch that starts at sample `consumed_samples`."""
        ...


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch.

    Attributes:
        micro_batches: In the order in which they are run.
        consumed_samples: The whole state of the data after this batch: samples of all ranks up to here.
    """

    micro_batches: list[MicroBatch]
    consumed_samples: int


class Loader(Iterator[Batch]):
    """The batches of a run from any sample on, without end; a context manager that stops its thread.

    One thread is enough: reading waits for the disk, and a sample costs tens of microseconds besides.
    """

    def __init__(self, reader: Reader, *, consumed_samples: int = 0, prefetch: int = 2) -> None:
        """Starts to read.

        Args:
            reader: What reads one global batch.
            consumed_samples: The sample to start at: 0, or the number of the last batch trained on.
            prefetch: Batches kept ready.
        """
        self._reader = reader
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(prefetch)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(consumed_samples,), name="batches", daemon=True)
        self._thread.start()

    def __next__(self) -> Batch:
        """The next batch, or the exception that reading it raised."""
        assert not self._stop.is_set(), "the loader is closed"
        item = self._ready.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        return item

    def close(self) -> None:
        """Stops the thread; calling it again does nothing."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def _run(self, consumed_samples: int) -> None:
        try:
            while not self._stop.is_set():
                micro_batches = self._reader.read(consumed_samples)
                consumed_samples += self._reader.layout.global_batch_size
                self._hand_over(Batch(micro_batches, consumed_samples))
        except BaseException as error:
            self._hand_over(error)

    def _hand_over(self, item: Batch | BaseException) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
