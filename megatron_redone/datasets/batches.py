"""From sample numbers to the micro-batches of one data-parallel rank.

A global batch is the samples `consumed_samples .. consumed_samples + global_batch_size`, whatever the
data-parallel and micro-batch sizes: these say only who reads which of them. So a run resumes exactly on
another layout.

Shape legend: b rows of a micro-batch, S tokens of a row, n segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.token_stream import TokenStream
from megatron_redone.errors import UserError

MicroBatch = dict[str, torch.Tensor]
"""What a model is fed and judged by.

`tokens`, `labels` (the next tokens) and `position_ids` are `int64[b, S]`, `loss_mask` is `float32[b, S]`.
With isolated documents the rows lie one after the other, all are `[1, b * S]`, positions restart with every
segment, and `cu_seqlens`, `int32[n + 1]`, tells where segments begin and end. Tokens and labels may share memory:
none of them is to be changed in place.
"""


@dataclass(frozen=True, kw_only=True)
class BatchLayout:
    """Which samples of a global batch one data-parallel rank reads, and in which micro-batch."""

    global_batch_size: int
    micro_batch_size: int
    data_parallel_size: int = 1
    data_parallel_rank: int = 0

    def __post_init__(self) -> None:
        assert 0 <= self.data_parallel_rank < self.data_parallel_size
        for name in ("global_batch_size", "micro_batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is less than 1")
        slice_size = self.micro_batch_size * self.data_parallel_size
        if self.global_batch_size % slice_size:
            raise UserError(
                f"global_batch_size: {self.global_batch_size} is not divisible by micro_batch_size "
                f"{self.micro_batch_size} x data-parallel size {self.data_parallel_size} = {slice_size}"
            )

    @property
    def micro_batch_count(self) -> int:
        """Micro-batches that each rank runs in one step."""
        return self.global_batch_size // (self.micro_batch_size * self.data_parallel_size)

    def rows(self, micro_batch: int) -> range:
        """The rows of a micro-batch, as places in the global batch."""
        first = (micro_batch * self.data_parallel_size + self.data_parallel_rank) * self.micro_batch_size
        return range(first, first + self.micro_batch_size)


class BatchReader:
    """Reads one rank's part of any global batch of a blend."""

    def __init__(self, blend: Blend[TokenStream], layout: BatchLayout, *, isolate_documents: bool = False) -> None:
        """Takes the samples, who reads which, and whether documents are kept apart."""
        self.blend, self.layout, self.isolate_documents = blend, layout, isolate_documents

    def read(self, consumed_samples: int) -> list[MicroBatch]:
        """The rank's micro-batches of the global batch that starts at sample `consumed_samples`."""
        places = self.blend.places(consumed_samples, self.layout.global_batch_size)
        return [
            self._micro_batch([places[row] for row in self.layout.rows(number)])
            for number in range(self.layout.micro_batch_count)
        ]

    def _micro_batch(self, places: list[tuple[int, int]]) -> MicroBatch:
        streams = self.blend.streams
        rows = [streams[source].tokens(number) for source, number in places]
        if not self.isolate_documents:
            return whole_rows(rows)
        return isolated_documents(rows, [streams[source].document_starts(number) for source, number in places])


def whole_rows(rows: Sequence[np.ndarray]) -> MicroBatch:
    """A micro-batch whose rows are read through, across the documents in them, as Megatron does.

    Args:
        rows: Integer ids, b arrays of `[S + 1]`.
    """
    ids = _stack(rows)
    inputs = ids[:, :-1]
    return to_tensors(
        tokens=inputs,
        labels=ids[:, 1:],
        loss_mask=np.ones(inputs.shape, np.float32),
        position_ids=np.broadcast_to(np.arange(inputs.shape[1]), inputs.shape),
    )


def isolated_documents(rows: Sequence[np.ndarray], starts: Sequence[np.ndarray]) -> MicroBatch:
    """A micro-batch in which every document, and every part of one in a row, is a segment of its own.

    The last token of a segment has the first token of the next document as its label, which it could
    not know: the loss leaves it out, except where the row cuts a document and the label is its own.

    Args:
        rows: Integer ids, b arrays of `[S + 1]`.
        starts: For each row the places from 1 to S at which a document begins, ascending.
    """
    ids = _stack(rows)
    length, total = ids.shape[1] - 1, ids[:, 1:].size
    offsets = np.arange(0, total, length)
    borders = np.concatenate([places + offset for places, offset in zip(starts, offsets, strict=True)])
    # A document that begins with the last label of a row has no input in it.
    begins = np.union1d(offsets, borders[borders < total]).astype(np.int64)
    cu_seqlens = np.append(begins, total)
    loss_mask = np.ones((1, total), np.float32)
    loss_mask[0, borders - 1] = 0.0
    return to_tensors(
        tokens=ids[:, :-1].reshape(1, total),
        labels=ids[:, 1:].reshape(1, total),
        loss_mask=loss_mask,
        position_ids=(np.arange(total) - np.repeat(begins, np.diff(cu_seqlens)))[None],
        cu_seqlens=cu_seqlens.astype(np.int32),
    )


def _stack(rows: Sequence[np.ndarray]) -> np.ndarray:
    """`int64[b, S + 1]`."""
    return np.stack(rows, dtype=np.int64, casting="safe")


def to_tensors(**arrays: np.ndarray) -> MicroBatch:
    """Contiguous tensors; the arrays are made in numpy, whose small operations cost half of torch's."""
    return {name: torch.from_numpy(np.require(array, requirements=["C", "W"])) for name, array in arrays.items()}
