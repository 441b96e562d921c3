"""Which conversations or pairs are held out: decided by their content, so that neither order nor tokenizer matters.

Items of equal content go to the same side, so that nothing is both trained on and validated.
"""

import heapq
from collections.abc import Iterable

from megatron_redone.curation.chats.chat_batches import EncodedItem

_KEYS = 1 << 64


class HeldOut:
    """Divides items as they come.

    By fraction: an item is held out when its key is among the lowest fraction of all numbers. By count: the
    items with the lowest keys of all are held out; only those are kept in memory.
    """

    def __init__(self, fraction: float, count: int) -> None:
        """Holds out nothing yet; at most one of fraction and count is not 0."""
        self._limit = int(fraction * _KEYS)
        self._count = count
        self._lowest: dict[int, list[EncodedItem]] = {}
        self._heap: list[int] = []  # keys of _lowest, negated: the largest comes first

    def divide(self, items: Iterable[EncodedItem]) -> tuple[list[EncodedItem], list[EncodedItem]]:
        """Those to train on and those held out, as far as it is known yet; the rest comes with `finish`."""
        trained: list[EncodedItem] = []
        held_out: list[EncodedItem] = []
        for item in items:
            if self._count:
                trained += self._exchange(item)
            else:
                (held_out if item.key < self._limit else trained).append(item)
        return trained, held_out

    @property
    def kept(self) -> int:
        """How many items `finish` would hand over, were it called now."""
        return sum(map(len, self._lowest.values()))

    def finish(self) -> list[EncodedItem]:
        """The items of the lowest keys, in the order of their keys."""
        return [item for key in sorted(self._lowest) for item in self._lowest[key]]

    def _exchange(self, item: EncodedItem) -> list[EncodedItem]:
        """Keeps an item if its key is among the lowest so far; returns what is not among them any more."""
        if item.key in self._lowest:
            self._lowest[item.key].append(item)
            return []
        if len(self._heap) == self._count and item.key > -self._heap[0]:
            return [item]
        self._lowest[item.key] = [item]
        heapq.heappush(self._heap, -item.key)
        return self._lowest.pop(-heapq.heappop(self._heap)) if len(self._heap) > self._count else []
