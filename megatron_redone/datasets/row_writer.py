"""Writes sequences into packed rows, where each is a segment that sees no other."""

import numpy as np

from megatron_redone.batches.micro_batch import MicroBatch, PairColumns
from megatron_redone.datasets.tensors import to_tensor

MaskedSequence = tuple[np.ndarray, np.ndarray]
"""Ids `[n]` of a sequence and what the loss of each counts `[n]`: 0, 1, or a weight between."""


class RowWriter:
    """Rows that lie one after the other, each padded to its length by a segment of its own.

    Attributes:
        end: The slot that the next segment begins at.
        prefixes: For each segment where the segment begins and ends that it sees besides itself.
    """

    def __init__(self, rows: int, length: int) -> None:
        """Takes the number of rows and the slots of each."""
        total = rows * length
        self._length = length
        self._tokens, self._labels, self._positions = (np.zeros(total, np.int64) for _ in range(3))
        self._loss_mask, self._cu_seqlens = np.zeros(total, np.float32), [0]
        self.end, self.prefixes = 0, list[tuple[int, int]]()

    def add_inputs(self, ids: np.ndarray, first_position: int = 0, prefix: tuple[int, int] = (0, 0)) -> slice:
        """Adds a segment without labels, and says which slots it takes.

        Args:
            ids: Integers `[n]`.
            first_position: Of the first id, in the sequence that it belongs to.
            prefix: Where the segment begins and ends that this one sees too; 0 and 0 for none.
        """
        slots = slice(self.end, self.end + len(ids))
        self._tokens[slots] = ids
        self._positions[slots] = np.arange(first_position, first_position + len(ids))
        self.end = slots.stop
        self._cu_seqlens.append(self.end)
        self.prefixes.append(prefix)
        return slots

    def add(self, sequence: MaskedSequence, shared: int = 0, prefix: tuple[int, int] = (0, 0)) -> slice:
        """Adds a sequence, of which the first `shared` tokens are left out; its last token is a label and no input."""
        ids, mask = sequence
        slots = self.add_inputs(ids[shared:-1], shared, prefix)
        self._labels[slots], self._loss_mask[slots] = ids[shared + 1 :], mask[shared + 1 :]
        return slots

    def end_row(self, number: int) -> None:
        """Pads row `number`, the one that was written to."""
        padding = (number + 1) * self._length - self.end
        assert padding >= 0, "the segments of a row exceed its length"
        if padding:
            self.add_inputs(np.zeros(padding, np.int64))

    def micro_batch(self, pairs: PairColumns | None = None) -> MicroBatch:
        """All rows as one, `[1, b * S]`."""
        return MicroBatch(
            tokens=to_tensor(self._tokens[None]),
            labels=to_tensor(self._labels[None]),
            loss_mask=to_tensor(self._loss_mask[None]),
            position_ids=to_tensor(self._positions[None]),
            cu_seqlens=to_tensor(np.array(self._cu_seqlens, np.int32)),
            pairs=pairs,
        )
