"""The fast path: gigatoken, where its ids prove equal to the reference library's."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import psutil

if TYPE_CHECKING:
    import awkward as ak

# gigatoken remembers every word that it has met, so its memory grows with the corpus. Past this the
# encoder is loaded anew (0.4 s), which keeps a worker well under 1 GB on any input.
_MEMORY_LIMIT = 600 << 20


class BatchEncoder(Protocol):
    """What of `gigatoken.Tokenizer` is used here."""

    def encode_batch(self, texts: list[str], /, *, parallel: bool) -> "ak.Array":
        """The ids of every text, as a ragged array."""
        ...


class FastEncoder:
    """Encodes batches with gigatoken, in bounded memory and on one thread."""

    def __init__(self, load: Callable[[], BatchEncoder]) -> None:
        """Loads a tokenizer; gigatoken raises an exception of its own choice on what it cannot do."""
        self._load = load
        self._tokenizer = load()
        self._process = psutil.Process(os.getpid())

    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts one after the other, `uint32[T]`, and how many each has, `int64[len(texts)]`."""
        import awkward as ak  # takes half a second, which training, that encodes nothing, need not wait for

        if self._process.memory_info().rss > _MEMORY_LIMIT:
            del self._tokenizer  # before the new one is made: never two at once
            self._tokenizer = self._load()
        # Workers are processes of ours: a thread pool in each would fight over the cores.
        rows = self._tokenizer.encode_batch(list(texts), parallel=False)
        return ak.to_numpy(ak.flatten(rows)), ak.to_numpy(ak.num(rows))
