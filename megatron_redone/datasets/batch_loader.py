"""Reads batches ahead of the training step, each with the state that follows it."""

import queue
import threading
from collections.abc import Iterator
from types import TracebackType

from megatron_redone.batches.micro_batch import GlobalBatch
from megatron_redone.datasets.batch_reader import BatchReader

_POLL_SECONDS = 0.1  # how soon a reader that waits for room notices that it is to stop


class Loader(Iterator[GlobalBatch]):
    """The batches of a run from any sample on, without end; a context manager that stops its thread.

    One thread is enough: reading waits for the disk, and a sample costs tens of microseconds besides.
    """

    def __init__(self, reader: BatchReader, *, consumed_samples: int = 0, prefetch: int = 2, pin: bool = False) -> None:
        """Starts to read.

        Args:
            reader: What reads one global batch.
            consumed_samples: The sample to start at: 0, or the number of the last batch trained on.
            prefetch: Batches kept ready.
            pin: Whether they are put into page-locked memory, for a CUDA device.
        """
        self._reader, self._pin = reader, pin
        self._ready: queue.Queue[GlobalBatch | BaseException] = queue.Queue(prefetch)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(consumed_samples,), name="batches", daemon=True)
        self._thread.start()

    def __next__(self) -> GlobalBatch:
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
                batch = self._reader.read(consumed_samples)
                consumed_samples = batch.consumed_samples
                self._hand_over(batch.pin() if self._pin else batch)
        except BaseException as error:
            self._hand_over(error)

    def _hand_over(self, item: GlobalBatch | BaseException) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
